"""Whether two languages that are joined row by row are translations of one another, and from which row on they are not.

1. `sides`: the rows of the two languages, each at its place.
2. `features`, `units`: what of a row survives translation: lengths, labels, question marks, numbers, names, repeats.
3. `evidence`: for a row i of one language and a row j of the other, the log likelihood ratio, in nats, of "j translates
   i" against "j has nothing to do with i". How reliable each feature is is estimated from the two files.
4. `walk`: a hidden Markov model over the rows. Its states are offsets (row i matches row i + offset) and "matches
   nothing". A change of state has a price, so that single bad translations do not count as a shift.
5. `exchanged`: rows far apart that have changed places, which no offset explains.
6. `verdict`, `audit`: what follows from all this, for two languages.
7. `dataset`, `refusal`: the rows of `parallelism` of all languages of a dataset, and the words in which it is refused.

Only what readers gave comes in: nothing here reads files or knows of studies and steps.
"""

from xlwh.corpora.parallelism.audit import Audit, audit
from xlwh.corpora.parallelism.dataset import Compared, verdicts
from xlwh.corpora.parallelism.features import units_of
from xlwh.corpora.parallelism.refusal import refuse_faults, refuse_joining, refused
from xlwh.corpora.parallelism.sides import Side, halves, sides
from xlwh.corpora.parallelism.verdict import FAULTS, Verdict

__all__ = [
    "FAULTS",
    "Audit",
    "Compared",
    "Side",
    "Verdict",
    "audit",
    "halves",
    "refuse_faults",
    "refuse_joining",
    "refused",
    "sides",
    "units_of",
    "verdicts",
]
