"""Hard tests, by the minute: fuzzed manifests, kills, full disks, hostile models and hostile text. `python -m tests.torture`."""
