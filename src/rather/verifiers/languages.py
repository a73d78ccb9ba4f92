# ruff: noqa: E501  (lists of words)
"""Which language a text is in: by its script, and within a script by its most frequent words and letters.

Enough to tell whether an instruction such as "answer in Hindi" was followed; no match for a trained identifier on a
line or two, or among close relatives (Norwegian and Danish, Serbian and Croatian).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter

# script, by the first word of a letter's Unicode name -> language, where the script has one that matters
SCRIPTS = {
    "HANGUL": "ko",
    "HIRAGANA": "ja",
    "KATAKANA": "ja",
    "CJK": "zh-cn",
    "THAI": "th",
    "GUJARATI": "gu",
    "GURMUKHI": "pa",
    "TAMIL": "ta",
    "TELUGU": "te",
    "KANNADA": "kn",
    "MALAYALAM": "ml",
    "BENGALI": "bn",
    "HEBREW": "he",
    "GREEK": "el",
    "SINHALA": "si",
    "LAO": "lo",
    "KHMER": "km",
    "MYANMAR": "my",
    "GEORGIAN": "ka",
    "ARMENIAN": "hy",
    "ETHIOPIC": "am",
}
WORDS = {
    "LATIN": {
        "en": "the of and to a in is that for it as was with be by on not he i this are or his from at which but have an "
        "had they you were their one all we can her has there been if more when will would who so no my your do",
        "de": "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er "
        "hat dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder ich ist sie wir ihr kann was wenn aber mein dein sehr mehr diese dieser ihre sind mich",
        "fr": "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont la avec son "
        "ou aux d l cette nous vous je mais elle sommes êtes être avez très votre notre leur ils c'est j'ai d'un qu'il aussi fait",
        "es": "de la que el en y a los se del las un por con no una su para es al lo como más o pero sus le ha me si sin "
        "sobre este ya entre cuando todo esta ser son muy también hay está donde quien yo tú mi",
        "pt": "de a o que e do da em um para com não uma os no se na por mais as dos como mas ao ele das à seu sua ou "
        "quando muito nos já eu também",
        "it": "di e il la che in un a per è una sono non con del le si da della i gli al dei come lo più ha nel ma anche "
        "alla questo o se",
        "nl": "de het een en van in is dat op te zijn met voor niet aan er om ook als dan maar bij uit nog door over naar "
        "je ik wordt worden",
        "fi": "ja on ei että se hän oli ovat mutta kun niin myös joka sen tai kuin jos hänen tämä nyt vain mitä olen ole "
        "minä sinä voi kanssa",
        "sv": "och i att det som en på är av för med den till inte har de ett om var jag men sig så vi från han eller",
        "da": "og i at det er en til på af for med den der de ikke har som et var jeg men sig om vi fra han eller blev",
        "no": "og i det er en til på av for med som at den ikke har de et var jeg men seg om vi fra han eller ble",
        "pl": "i w na z nie się do to że jest o jak ale po co tak za od czy przez może być dla jego są",
        "cs": "a v se na je že z s do o i to ale jako za by jsem pro tak co po jeho nebo které být",
        "ro": "de în și a la cu pe o din că este un nu mai pentru care sunt prin ca sau fi ce au",
        "hu": "a az és hogy nem is egy meg ez de van volt azt csak ha még el már vagy mint",
        "tr": "ve bir bu da için de ile çok olarak daha en olan gibi ne kadar sonra var o ama ben",
        "sw": "na ya wa kwa ni katika la za kuwa cha hii yake hiyo wako yako kama au lakini pia sana watu mimi wewe "
        "tunaweza ambayo ili hilo huu wao vya kila",
        "vi": "của và là có trong cho được không một các những với này đã để người khi từ bạn tôi cũng như",
        "id": "yang dan di dengan untuk dari ini dalam itu tidak pada akan ke adalah ada juga saya bisa oleh anda atau",
        "tl": "ang ng sa na mga ay at ko si ni hindi ito para siya ka mo kung may kaya rin",
    },
    "CYRILLIC": {
        "ru": "и в не на я что он с как это по к но из у за то все так его от же бы для мы вы ты о был она которые ы э",
        "bg": "и на да се от за в е са с че не по ще като до това но които ако при или съм му си ни един ъ може има",
        "uk": "і в на не що з до та як у це за від але він по або про є її для ї бути які також ми",
        "mk": "и на да во се од за е со не што ќе ги по тоа но како ја",
        "sr": "и у је да се на за од са не што као али су ће или по то",
    },
    "DEVANAGARI": {
        "hi": "है के में की और का को से हैं यह कि पर एक नहीं भी इस ने लिए तो ही था हम आप कर हो गया मैं",
        "mr": "आहे आणि या मी तर हे ते आहेत नाही तुम्ही च्या का व होते असे आम्ही एक मध्ये साठी ही करा तुमच्या आपण केले",
        "ne": "छ र को मा हो छन् पनि यो गर्न लागि भने हामी तपाईं गरेको थियो",
    },
    "ARABIC": {
        "ar": "في من على أن إلى التي هذا ما لا عن مع هذه كان الذي ذلك هو أو هي كل قد بعد",
        "fa": "و در به از که این را با است برای آن یک می تا بر هم شود شما من های",
        "ur": "کے میں کی ہے اور سے کا کو یہ نے پر کہ ہیں ایک بھی نہیں ہو گیا تو اس وہ آپ ہم",
    },
}
LETTERS = {"ы": "ru", "э": "ru", "ї": "uk", "є": "uk", "ќ": "mk", "ђ": "sr", "ј": "sr", "ळ": "mr", "ے": "ur", "ٹ": "ur"}
LETTERS |= {
    "ں": "ur",
    "ڈ": "ur",
    "گ": "fa",
    "ة": "ar",
    "ß": "de",
    "ñ": "es",
    "ã": "pt",
    "õ": "pt",
    "ł": "pl",
    "ř": "cs",
}


# How many languages of its script share a word: "de" is French, Spanish, Portuguese and Dutch, and tells little.
OWNERS = {
    script: Counter(word for words in languages.values() for word in set(words.split()))
    for script, languages in WORDS.items()
}


def language_of(text: str) -> str:
    """ISO 639-1, as langdetect writes it ("zh-cn"); "" where there are no letters."""
    letters = [letter for letter in text if letter.isalpha()]
    if not letters:
        return ""
    counted = Counter(_script(letter) for letter in letters)
    if counted["HIRAGANA"] + counted["KATAKANA"] > 0.1 * len(letters):
        return "ja"  # beside them stand as many Chinese characters
    script = counted.most_common(1)[0][0]
    if script not in WORDS:
        return SCRIPTS.get(script, script.lower())
    # Devanagari's vowel signs are marks, and belong to the word; so does the apostrophe in "life's".
    said = Counter(re.findall(r"[^\W\d_][\w'’\u0300-\u036f\u0900-\u097f]*", text.lower()))
    owners = OWNERS[script]
    scores = {
        language: sum(said[word] / owners[word] for word in words.split()) for language, words in WORDS[script].items()
    }
    total = max(1, sum(said.values()))
    for letter, language in LETTERS.items():
        if language in scores:
            scores[language] += min(0.2 * total, text.lower().count(letter))
    first = next(iter(WORDS[script]))  # the one with the most speakers, where a line or two tells nothing
    best = max(scores, key=lambda language: scores[language])
    return best if scores[best] >= scores[first] + 1.5 else first


def _script(letter: str) -> str:
    return unicodedata.name(letter, "UNKNOWN").split()[0]
