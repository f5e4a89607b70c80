-- Answers to questions as the two definitions of exact match and F1 compare them: as lists of words.

-- Lower case as Unicode has it, and Python: DuckDB's lower() turns every letter into one, so it makes a plain i of a
-- dotted capital one, and never ends a Greek word in a final sigma.
create macro lower_case(text) as lower(regexp_replace(
    replace(text, 'İ', 'i̇'),
    '([\p{Lu}\p{Ll}\p{Lt}][\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}''.:·’]*)Σ([\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}''.:·’]*(?:[^\p{Lu}\p{Ll}\p{Lt}\p{Mn}\p{Me}\p{Cf}\p{Lm}\p{Sk}''.:·’]|$))',
    '\1ς\2', 'g'
));

-- SQuAD v1.1's own: lower case, without ASCII punctuation, without English articles, words between white space. An
-- answer of nothing else has no words.
-- Source: Rajpurkar et al. (2016), evaluate-v1.1.py.
create macro squad_words(answer) as
    regexp_extract_all(
        case when answer is not null then coalesce(list_aggregate(
            list_transform(
                -- Runs of word characters and of others: an article is a whole run.
                regexp_extract_all(
                    regexp_replace(lower_case(answer), '[!-/:-@\[-`{-~]', '', 'g'), '[\pL\pN_]+|[^\pL\pN_]+'
                ),
                lambda run: case when run in ('a', 'an', 'the') then ' ' else run end
            ),
            'string_agg', ''
        ), '') end,
        '[^\s\pZ\x0B\x1C-\x1F\x{85}]+'
    );

-- Articles that are left out of answers in a language. Source: Lewis et al. (2020), mlqa_evaluation_v1.py.
create macro answer_articles(language) as
    case split_part(language, '-', 1)
        when 'en' then ['a', 'an', 'the']
        when 'de' then [
            'ein', 'eine', 'einen', 'einem', 'eines', 'einer', 'der', 'die', 'das', 'den', 'dem', 'des'
        ]
        when 'es' then ['un', 'una', 'unos', 'unas', 'el', 'la', 'los', 'las']
        when 'vi' then ['của', 'là', 'cái', 'chiếc', 'những']
        else []::varchar[]
    end;

-- A text without the Arabic article, which is a prefix of the word; other languages' texts as they are.
create macro without_prefix_article(answer, language) as
    case when split_part(language, '-', 1) = 'ar' then regexp_replace(answer, '(^|\s)ال', '\1', 'g') else answer end;

-- After MLQA, for `strict`: composed, lower case, without any Unicode punctuation, without the language's articles (the
-- Arabic one is a prefix), and in scripts that write no spaces every character is a word. It is not MLQA's script, which
-- composes nothing, leaves non-ASCII symbols, takes the Arabic article out of the middle of words too, and splits Chinese
-- only; here symbols go, and Japanese, Thai, Lao, Khmer and Burmese are split as well.
-- Source: Lewis et al. (2020), mlqa_evaluation_v1.py.
create macro answer_words(answer, language) as
    list_filter(
        regexp_extract_all(
            without_prefix_article(regexp_replace(lower_case(nfc_normalize(answer)), '[\pP\pS]', '', 'g'), language),
            '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[^\s\pZ\x0B\x1C-\x1F\x{85}\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+'
        ),
        lambda word: not list_contains(answer_articles(language), word)
    );

-- Words that two lists have in common, each as often as both have it.
create macro common_words(one, other) as
    case when one is not null and other is not null then coalesce(
        list_sum(
            list_transform(
                list_distinct(one),
                lambda word: least(
                    len(list_filter(one, lambda x: x = word)), len(list_filter(other, lambda x: x = word))
                )
            )
        ),
        0
    ) end;

-- F1 of two lists of words, each taken as often as it occurs: 2 * common / (words + words); 0 without a word in common,
-- as in SQuAD v1.1's script even where both are empty.
create macro squad_f1(one, other) as
    case when len(one) + len(other) = 0 then 0.0 else 2.0 * common_words(one, other) / (len(one) + len(other)) end;

-- The same, but two empty lists agree: 1, as in SQuAD v2's script.
create macro words_f1(one, other) as
    case when len(one) + len(other) = 0 then 1.0 else 2.0 * common_words(one, other) / (len(one) + len(other)) end;
