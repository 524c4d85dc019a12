"""Features of models as evidence: records of when they fire, how they go with a criterion, what changing them does, and which are alike.

Everything here but `edit` (which changes a running model) works on files and numpy arrays and imports no torch.
"""
