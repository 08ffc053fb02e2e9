"""Everything that depends on how MMEngine works: registration, versions, model index, configs, checkpoints."""
