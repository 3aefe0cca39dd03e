"""Many POSTs over connections that come and go: nothing may be left behind."""
