-- One row per input row that a reader refused, with the reason and the raw text.
-- key: dataset, split, language, source_file, row_number
-- source: the original data files
select * from files.rejected_rows
