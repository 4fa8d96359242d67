"""Large files that come in pieces, over connections that may break."""
