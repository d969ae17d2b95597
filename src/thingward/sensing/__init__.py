"""Raw sources to observations: flow table, statistics, log formats, collectors."""
