"""What each kind of run leaves in result.json, in its headline and in its live events: frozen types, a file a kind. Torch-free.

Beside the kinds and not in them, so that screens can read a result without importing what computes it. A kind names its own in
`Kind(result=…, headline=…, live=…)`; a field's description gives unit and meaning. See `payload` for how they are checked and read.
"""
