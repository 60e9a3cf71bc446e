"""Training: what a run is told (config), what it does (loop), and what it leaves (run folder)."""
