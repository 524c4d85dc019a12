"""Where activations are read and written; the only place that registers hooks. See `hooks` for how to use it, `site` for the places."""
