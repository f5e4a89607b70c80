-- The text that a row with `segment` points into: 0 `text`, 1 `text_pair`, as in the view `example_texts`.
create macro segment_text(text, text_pair, segment) as case segment when 0 then text when 1 then text_pair end;

-- What stands at char_start to char_end (code points) of that text. Of a table that points into texts, it is the word; for
-- words of multiword tokens it is what is written for them (`du` for `de`), as examples.word_spans states it.
create macro surface(text, text_pair, segment, char_start, char_end) as
    substr(segment_text(text, text_pair, segment), char_start + 1, char_end - char_start);
