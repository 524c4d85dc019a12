"""One chain whose weights lie on several devices: each rank holds a part of every parameter, and all take every step together."""
