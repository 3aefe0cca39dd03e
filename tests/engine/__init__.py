"""The market engine over real sockets, and on recordings."""
