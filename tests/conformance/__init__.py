"""Both HTTP/2 framings read the same bytes of a server; what they say of the requests is equal."""
