"""The trade store: what was asked, sent, traded and settled, as rows for people and their tools.

``store.TradeStore`` takes rows in and never makes anybody wait; ``reading.TradeReader`` gives them
back. Where the rows are is ``location.Location``: a SQLite file or a PostgreSQL server, with the
same tables.
"""
