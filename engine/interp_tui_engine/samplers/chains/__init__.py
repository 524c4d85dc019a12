"""How chains run: scheduled on threads or stacked by vmap, checkpointed, recorded in a store."""
