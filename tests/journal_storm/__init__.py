"""Every cut, random damage, power loss and kills of the journal."""
