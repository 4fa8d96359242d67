"""One router per area of the API; each only translates between HTTP and the library."""
