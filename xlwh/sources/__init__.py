"""What a study needs from outside: where it lies on this machine, where it comes from, and how it is brought here.

Belongs here: the hub's cache and client, addresses of files, digests, locks, mirrors. Does not belong here: what the
files mean (`xlwh.corpora`, `xlwh.models`). Nothing is fetched unless `xlwh fetch` or a model that is loaded asks for it.
"""
