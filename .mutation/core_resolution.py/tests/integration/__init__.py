"""Everything that talks over real sockets."""
