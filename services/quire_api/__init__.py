"""HTTP over the library: thin routers, error mapping, OpenAPI. No business logic."""
