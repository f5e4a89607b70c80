"""The explorer: a local web page over one warehouse, on 127.0.0.1 only.

Pages are made here from the same figures as the report; a small script swaps parts of them when a choice changes.
It only ever reads, over a sandboxed connection, and computes nothing that the warehouse does not hold but the
transport plan of the one pair that is looked at.
"""
