"""Weight restrictions: naming a part of a model (a layer, a head, an embedding) and finding the parameters it is made of.

patterns parses, parameter map knows the parts, selection puts both together; all three are torch-free. masks is for loaded models.
"""
