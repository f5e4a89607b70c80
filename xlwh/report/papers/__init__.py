"""The report of one paper: its tables and figures beside what this warehouse measured.

`contents` lists what the papers have, `tables` fills their tables from the view `published_vs_measured`, `settings`
tells where the study is another one than the paper's, `pages` puts them together; `html`, `pdf` and `latex` write it.
Nothing here computes a metric.
"""
