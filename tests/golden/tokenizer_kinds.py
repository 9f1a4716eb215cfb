"""The kinds of tokenizer that make_tokenizers.py makes, and texts that are hard on them.

Each kind is a small vocabulary trained on this repository's LICENSE and a few texts, with the normalizer, pre-tokenizer,
decoder and flags of models in use, or with everything at once that none of them combines.
"""

import json
import random

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
QWEN2_PATTERN = LLAMA3_PATTERN.replace("{1,3}", "")
TEKKEN_PATTERN = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
    r"|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n/]+|\s+(?!\S)|\s+"
)
GPT4O_PATTERN = TEKKEN_PATTERN.replace(r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|")
DEEPSEEK_V3_PATTERN = (
    r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
IDEOGRAPHS = "[一-龥ࠀ-一가-퟿]+"


def byte_level(add_prefix_space=False, use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior=behavior, invert=invert)


def sequence(*steps):
    return pre_tokenizers.Sequence(list(steps))


def metaspace(scheme, split_words):
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split_words)


BYTES = byte_level(use_regex=False)

# Byte level: name -> (pre-tokenizer, normalizer)
BYTE_LEVEL = {
    "gpt2": (byte_level(), None),
    "prefix_space": (byte_level(add_prefix_space=True), None),
    "llama3": (sequence(split(LLAMA3_PATTERN), BYTES), None),
    "smollm": (sequence(pre_tokenizers.Digits(individual_digits=True), byte_level()), None),
    "matches_only": (sequence(split(LLAMA3_PATTERN, "removed", invert=True), BYTES), None),
    "qwen2": (sequence(split(QWEN2_PATTERN), BYTES), normalizers.NFC()),
    "deepseek_llm": (
        sequence(
            split("[\r\n]"), split(r"\s?[A-Za-zµÀ-ÖØ-öø-ƺ]+"), split(r"\s?[!-/:-~！-／：-～‘-‟　-。]+"), split(r"\s+$"),
            split(IDEOGRAPHS), pre_tokenizers.Digits(individual_digits=True), BYTES,
        ),
        None,
    ),
    "deepseek_coder": (
        sequence(
            split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(IDEOGRAPHS),
            pre_tokenizers.Digits(individual_digits=True), BYTES,
        ),
        None,
    ),
    "deepseek_v3": (
        sequence(split(r"\p{N}{1,3}"), split("[一-龥\u3040-ゟ゠-ヿ]+"), split(DEEPSEEK_V3_PATTERN), BYTES), None,
    ),
    "tekken": (sequence(split(TEKKEN_PATTERN), BYTES), None),
    "gpt4o": (sequence(split(GPT4O_PATTERN), BYTES), None),
    "falcon": (
        sequence(pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False), split("[0-9][0-9][0-9]")),
        None,
    ),
    # No model has these together.
    "behaviors": (
        sequence(
            pre_tokenizers.Split(" ", "merged_with_next"),
            split("[aeiou]", "contiguous"),
            split(r"[.,;]", "merged_with_previous"),
            pre_tokenizers.Split("-", "removed"),
            split(r"\w{2}", "merged_with_next", invert=True),
            split(r"(?=[A-Z])|x*"),
            byte_level(add_prefix_space=True, use_regex=False),
        ),
        None,
    ),
    "syntax": (
        sequence(split(r"\b\w+\b|\d{,2}\s|(?m:#.+#)|^\h+$|\p{^L}\P{N}\u2581?"), split(r"[\s\d_]+|[^\S\n]|\p{Han}+", "contiguous"), BYTES),
        None,
    ),
    "forms": (
        byte_level(),
        normalizers.Sequence(
            [normalizers.Strip(), normalizers.NFKD(), normalizers.Lowercase(), normalizers.Replace(Regex(r"\s+"), " "),
             normalizers.Replace("...", "…"), normalizers.NFKC()]
        ),
    ),
    "nfd": (byte_level(), normalizers.Sequence([normalizers.Prepend("> "), normalizers.NFD()])),
    "gaps": (sequence(pre_tokenizers.Digits(individual_digits=True), byte_level()), None),
    "gaps_unknown": (byte_level(), None),
}

# Made from sentencepiece: name -> (pre-tokenizer, normalizer, decoder)
LLAMA_NORMALIZER = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
REPLACING = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
SPACE_MARKED = {
    "llama2": (None, LLAMA_NORMALIZER, decoders.Sequence(REPLACING + [decoders.Strip(" ", 1, 0)])),
    "gemma": (pre_tokenizers.Split(" ", "merged_with_previous"), normalizers.Replace(" ", "▁"), decoders.Sequence(REPLACING)),
    "metaspace_first": (metaspace("first", False), None, decoders.Sequence(REPLACING + [decoders.Strip(" ", 1, 0)])),
    "metaspace_split": (metaspace("always", True), None, decoders.Metaspace()),
    "metaspace_never": (metaspace("never", True), normalizers.NFKC(), decoders.Metaspace(prepend_scheme="never")),
}

FLAGGED = [
    {"content": "<|left|>", "lstrip": True, "special": False, "normalized": False},
    {"content": "<|right|>", "rstrip": True, "special": False, "normalized": True},
    {"content": "<|both|>", "lstrip": True, "rstrip": True, "special": True, "normalized": False},
    {"content": "word", "single_word": True, "special": False, "normalized": False},
    {"content": "<|NORMAL|>", "special": False, "normalized": True},
    {"content": "<|NORMAL|>s", "special": True, "normalized": True},
    {"content": "<|end", "special": False, "normalized": False},
    {"content": "é!", "special": False, "normalized": True},
]


def corpus(licence, texts):
    return [licence] + texts * 3


def byte_level_tokenizer(name, licence, texts, vocabulary):
    pre_tokenizer, normalizer = BYTE_LEVEL[name]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = [] if name.startswith("gaps") else sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=["<|begin|>", "<|end|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator([licence] if name.startswith("gaps") else corpus(licence, texts), trainer)
    return tokenizer


def space_marked_document(name, licence, texts, vocabulary):
    pre_tokenizer, normalizer, decoder = SPACE_MARKED[name]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=name != "metaspace_never"))
    if pre_tokenizer:
        tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.decoder = decoder
    falls_back = name not in ("metaspace_split", "metaspace_never")
    names = ["<unk>", "<s>", "</s>"]
    by_bytes = [f"<0x{byte:02X}>" for byte in range(256)] if falls_back else []
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=names + by_bytes, limit_alphabet=60, show_progress=False
    )
    # Without words the trainer would take whole texts for one.
    pieces = [word for text in corpus(licence, texts[:20]) for word in text.replace(" ", "\n ").split("\n") if word]
    tokenizer.train_from_iterator(pieces, trainer)
    document = json.loads(tokenizer.to_str())
    document["model"]["byte_fallback"] = falls_back
    document["added_tokens"] = [token for token in document["added_tokens"] if token["content"] in names]
    return document


def with_flagged_tokens(document, normalizer):
    """The kind "flags": added tokens with every flag, a few of them normalized by `normalizer`."""
    document["normalizer"] = normalizer
    first = 1 + max(token["id"] for token in document["added_tokens"])
    first = max(first, 1 + max(document["model"]["vocab"].values()))
    for number, flags in enumerate(FLAGGED):
        token = {"id": first + number, "single_word": False, "lstrip": False, "rstrip": False, **flags}
        document["added_tokens"].append(token)
    return document


def hard_texts(count, seed):
    """Texts of everything that tokenizers trip over, none longer than about 40 characters."""
    rng = random.Random(seed)
    alphabets = [
        "abcdefghijklmnopqrstuvwxyz      eeeaaattt",
        "ABCXYZabcxyz   '’ſK",
        "0123456789²³½Ⅷ٣१၃𝟘𐒠  .,",
        " \t\n\r\u00a0\u1680\u180e\u2003\u200b\u2028\u2029\u202f\u205f\u3000\ufeff\x0b\x0c\x1c\x85ab",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~…—«»‘’“”。、！ a",
        "aeo\u0300\u0301\u0323\u0327\u0334\u1dc0\u0345ÅÅéệǖΩΩﬁﬀ①㌀ｶﾞ",
        "한국어가각\u1100\u1161\u11a8日本語中文カタカナひらがな々〇",
        "абвГДЕ αβγΣΑΣς שלום ابج ไทย हिन्दी தமிழ்",
        "🙂👍🏽👨\u200d👩\u200d👧🇪🇺❤\ufe0f a",
        "\x00\x01\x13\x1f\x7f\u0080\u009f\ufffd\ufffe\U0010ffff\U000f0000\U00040000 a",
        "▁ĠĊ<0x41> <0x0A>▁▁a",
        "\U0001e030\U00031350\U000105c0\u1c89\ua7cb\U00010d50\U0001e4f0\U00011bf0\U00010ec2\u0898 aZ",
    ]
    phrases = [
        "'s", "'LL", "'re", "don't", "I'VE", " the", "  ", "\n\n", "\r\n", " \n ", "...", "<|end|>", "<|begin|>", "<|plain|>", "<|end",
        "<s>", "</s>", "<unk>", "▁", " ▁", "<0x41>", "word", " word ", "sword", "<|left|>", " <|left|> ", "<|right|> ", "\t<|both|>\n",
        "<|NORMAL|>", "<|normal|>s", "é!", "e\u0301!", "1234567", "12,345.67", "3.14", "{,2}", "x", "xx", "#a#", "Aa", "aA", "-", "_",
        "END", "Straße", "İstanbul", "ŉ", "ﷺ", "\u1e9b\u0323", "日本", "2+2=4", "/path/to", "the quick brown fox",
    ]
    texts = []
    while len(texts) < count:
        parts = []
        for _ in range(rng.randrange(1, 7)):
            kind = rng.random()
            if kind < 0.45:
                parts.append("".join(rng.choices(rng.choice(alphabets), k=rng.randrange(1, 7))))
            elif kind < 0.85:
                parts.append(rng.choice(phrases))
            elif kind < 0.95:
                parts.append(rng.choice(rng.choice(alphabets)) * rng.randrange(1, 9))
            else:
                code = rng.randrange(0x110000)
                parts.append(chr(code) if not 0xD800 <= code < 0xE000 else "?")
        texts.append("".join(parts))
    return texts
