-- Answers to questions as the two definitions of exact match and F1 compare them: as lists of words.

-- SQuAD v1.1's own: lower case, without ASCII punctuation, without English articles, words between white space.
-- Source: Rajpurkar et al. (2016), evaluate-v1.1.py.
create macro squad_words(answer) as
    regexp_extract_all(
        list_aggregate(
            list_transform(
                -- Runs of word characters and of others: an article is a whole run.
                regexp_extract_all(
                    regexp_replace(lower(answer), '[!-/:-@\[-`{-~]', '', 'g'), '[\pL\pN_]+|[^\pL\pN_]+'
                ),
                lambda run: if(run in ('a', 'an', 'the'), ' ', run)
            ),
            'string_agg', ''
        ),
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
    if(split_part(language, '-', 1) = 'ar', regexp_replace(answer, '(^|\s)ال', '\1', 'g'), answer);

-- MLQA's: composed, lower case, without any Unicode punctuation or symbol, without the language's articles (the Arabic
-- one is a prefix), and in scripts that write no spaces every character is a word.
-- Source: Lewis et al. (2020), mlqa_evaluation_v1.py, which splits Chinese only; here Japanese, Thai, Lao, Khmer and
-- Burmese too.
create macro answer_words(answer, language) as
    list_filter(
        regexp_extract_all(
            without_prefix_article(regexp_replace(lower(nfc_normalize(answer)), '[\pP\pS]', '', 'g'), language),
            '[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]|[^\s\pZ\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]+'
        ),
        lambda word: not list_contains(answer_articles(language), word)
    );

-- F1 of two lists of words, each taken as often as it occurs: 2 * common / (words + words); where one is empty, 1 if both are.
create macro words_f1(one, other) as
    if(
        len(one) = 0 or len(other) = 0,
        (len(one) = len(other))::int::double,
        2.0 * coalesce(
            list_sum(
                list_transform(
                    list_distinct(one),
                    lambda word: least(
                        len(list_filter(one, lambda x: x = word)), len(list_filter(other, lambda x: x = word))
                    )
                )
            ),
            0
        ) / (len(one) + len(other))
    );
