"""How fast routing is, and in how much memory, beside the ways in which it is usually written."""
