"""Floor 4: configuration, wiring, the schedule and the command line. Knows how nothing is done."""
