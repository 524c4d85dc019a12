"""The tools this one takes the place of, each beside ours: the same work in both, row by row of the migration page.

    python -m tests.parity                 all peers that can be installed, each in an environment of its own under .parity/
    python -m tests.parity interp-lab      one of them
    python -m tests.parity objects         objects of TransformerLens, nnsight, PEFT and torch.compile, given to our calls as they are
    python -m tests.parity own-tests       tests of the peers, with our functions under their names
    python -m tests.parity extras          pip's answer for each pair of our extras
    python -m tests.parity --record        append the counts to tests/bench/RESULTS.md
    python -m tests.parity --keep          write down what the peers gave, for the tests that run without them
    python -m tests.parity --page          write the tables of examples/guides/moving-in.md

A row (`rows.py`) states their call, ours, and whether the numbers are the same or differ for a reason. A peer's file holds the work itself,
written once for both sides where the names are the same. What the peers gave is kept in `recorded/`; the tests hold ours to it.

devinterp 2.0.1 and interp-lab 3.1.0 are installed from the registry. interp is in no registry: INTERP_SOURCE names a checkout of it. There
is no copy of interpretability-toolkit to be had: its rows are its documentation's examples, with answers computed by hand.
"""
