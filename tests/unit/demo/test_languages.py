"""Word order, agreement and alignment of single sentences, against sentences written by hand."""

from __future__ import annotations

import pytest

from xlwh.demo.grammar import links, realise
from xlwh.demo.languages import text
from xlwh.demo.lexicon import LANGUAGES
from xlwh.demo.meaning import Clause, NounPhrase

DOG = NounPhrase("the", "dog")
BIG_DOG = NounPhrase("the", "dog", "big")
COW = NounPhrase("the", "cow")
APPLE = NounPhrase("a", "apple")
DOOR = NounPhrase("the", "door", "red")

SENTENCES = {
    "place": (
        Clause(DOG, "sleep", place="park"),
        {
            "en": "the dog is sleeping in the park",
            "de": "der Hund schläft im Park",
            "es": "el perro duerme en el parque",
            "zh": "狗在公园里睡觉",
            "ar": "ينام الكلب في المتنزه",
            "hi": "कुत्ता पार्क में सो रहा है",
        },
    ),
    "separable verb, negation, adjective": (
        Clause(NounPhrase("the", "woman", "old"), "open", DOOR, negated=True, verb_first=False),
        {
            "en": "the old woman is not opening the red door",
            "de": "die alte Frau macht die rote Tür nicht auf",
            "es": "la mujer vieja no abre la puerta roja",
            "zh": "年迈的女人没有在打开红色的门",
            "ar": "السيدة العجوز لا تفتح الباب الأحمر",
            "hi": "बूढ़ी औरत लाल दरवाज़ा नहीं खोल रही है",
        },
    ),
    "passive": (
        Clause(BIG_DOG, "catch", COW, place="street", passive=True),
        {
            "en": "the cow is being caught by the big dog on the street",
            "de": "die Kuh wird vom großen Hund auf der Straße gefangen",
            "es": "la vaca es atrapada por el perro grande en la calle",
            "zh": "牛在街道上被大狗抓",
            "ar": "البقرة يمسكها الكلب الكبير في الشارع",
            "hi": "गाय को बड़ा कुत्ता सड़क पर पकड़ रहा है",
        },
    ),
    "fronted place, dual, indefinite object": (
        Clause(NounPhrase("two", "girl"), "eat", APPLE, place="garden", time="morning", front="place"),
        {
            "en": "in the garden two girls are eating an apple in the morning",
            "de": "im Garten essen zwei Mädchen am Morgen einen Apfel",
            "es": "en el jardín dos chicas comen una manzana por la mañana",
            "zh": "在花园里两个女孩早上正在吃一个苹果",
            "ar": "في الحديقة تأكل بنتان تفاحة في الصباح",
            "hi": "बगीचे में दो लड़कियाँ सुबह एक सेब खा रही हैं",
        },
    ),
    "no": (
        Clause(NounPhrase("no", "woman"), "clean", NounPhrase("the", "window"), time="night"),
        {
            "en": "no woman is cleaning the window at night",
            "de": "keine Frau putzt das Fenster in der Nacht",
            "es": "ninguna mujer limpia la ventana por la noche",
            "zh": "夜里没有女人在清洁窗户",
            "ar": "لا تنظف أي سيدة النافذة في الليل",
            "hi": "कोई औरत रात को खिड़की साफ़ नहीं कर रही है",
        },
    ),
    "all": (
        Clause(NounPhrase("all", "horse"), "wake_up", place="outside"),
        {
            "en": "all horses are waking up outside",
            "de": "alle Pferde wachen draußen auf",
            "es": "todos los caballos se despiertan afuera",
            "zh": "所有的马都在外面醒来",
            "ar": "تستيقظ كل الأحصنة في الخارج",
            "hi": "सभी घोड़े बाहर जाग रहे हैं",
        },
    ),
    "kein, oblique object": (
        Clause(NounPhrase("the", "boy"), "watch", NounPhrase("a", "monkey"), negated=True, verb_first=False),
        {
            "en": "the boy is not watching a monkey",
            "de": "der Junge beobachtet keinen Affen",
            "es": "el chico no observa a un mono",
            "zh": "男孩没有在观察一只猴子",
            "ar": "الولد لا يراقب قردًا",
            "hi": "लड़का एक बंदर को नहीं देख रहा है",
        },
    ),
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("name", SENTENCES)
def test_sentence(name: str, language: str) -> None:
    clause, expected = SENTENCES[name]
    assert text(realise(clause, language), language) == expected[language]


def test_gold_alignment() -> None:
    clause, _ = SENTENCES["place"]
    source = realise(clause, "en")
    # the dog is sleeping in the park
    assert links(source, realise(clause, "de")) == [(0, 0), (1, 1), (2, 2), (3, 2), (4, 3), (5, 3), (6, 4)]
    # Hindi has no article, the verb comes last
    assert links(source, realise(clause, "hi")) == [(1, 0), (2, 4), (2, 5), (3, 3), (4, 2), (6, 1)]
    # the Arabic article is part of the noun
    assert links(source, realise(clause, "ar")) == [(0, 1), (1, 1), (2, 0), (3, 0), (4, 2), (5, 3), (6, 3)]
