"""The sub-commands, one family a file. Each imports what it needs when it is called, so that --help stays quick."""
