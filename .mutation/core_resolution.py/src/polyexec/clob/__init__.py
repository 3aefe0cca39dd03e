"""The live exchange: the order connection, the cold calls and what is read from the wire."""
