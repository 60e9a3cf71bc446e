"""The claims, tables and figures of the paper and of articles about it: one experiment a folder."""
