"""Makes small BPE tokenizers and what PyPI's `tokenizers` computes with them.

    python3 make_tokenizers.py [--bart tokenizer.json]     # writes tokenizers/
    python3 make_tokenizers.py --check FOLDER [--count 5000] [--seed 1] [NAME=tokenizer.json ...]

Trained on this repository's LICENSE and the texts below, so that the result needs nothing else.
    tokenizers/texts.json               the texts that every tokenizer encodes
    tokenizers/hard_texts.json          more of them (tokenizer_kinds.py)
    tokenizers/unicode.json             classes of characters as ranges, and checksums of normal forms of all characters
    tokenizers/<name>/tokenizer.json    one kind each
    tokenizers/<name>/vectors.json      {"ids": [ids of each text], "random_ids": [...], "random_texts": [...], ...}
random_texts are random_ids decoded without special tokens: most of them are broken UTF-8. "added" has texts with the name of
an added token that is not special, and their ids; "hard" the ids of hard_texts.json, names of special tokens being text, and
"hard_special" the same where they are tokens (those that differ, by number). "decoded" are the texts that "ids" decode to,
where a decoder takes the first space.
With --bart, tokenizers/bart.json holds the same for that large tokenizer, which is not copied.
--check writes the same into FOLDER for many random texts and for tokenizers of your own; then
    DSLAD_TOKENIZER_VECTORS=FOLDER build/release/bin/text_test --gtest_filter='TokenizerVectors.*'
"""

import argparse
import json
import pathlib
import random

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors

import tokenizer_kinds as kinds

HERE = pathlib.Path(__file__).parent
OUT = HERE / "tokenizers"
VOCABULARY = 640
HARD_TEXTS = 300

TEXTS = [
    "",
    " ",
    "a",
    "Hello world",
    " Hello world",
    "Hello  world   with    runs     of spaces      ",
    "\n",
    "\n\n\n \n  \n\t\t\n",
    "tabs\tand\r\nWindows line ends\r\n\r\n",
    "It's what we've said: they'll say I'd won't, WE'LL, DON'T; 'twas '' ' s",
    "3 33 333 3333 33333 3.14159 1,000,000 ²³ ½ Ⅷ ٣٤٥ १२३",
    "Żółć, naïve café, Straße, ﬁne, İstanbul",
    "Cafe\u0301 de\u0301ja\u0300 vu (combining accents)",
    "日本語のテキスト。中文文本，没有空格。한국어 문장입니다.",
    "Привет, мир! Γειά σου Κόσμε. שלום עולם مرحبا بالعالم",
    "🙂👍🏽👨‍👩‍👧‍👦 🇪🇺 ❤️‍🔥 emoji🙂inside",
    "zero\u200bwidth, no\u00a0break, thin\u2009space, ideographic\u3000space, \u2028line\u2029paragraph, \u0085next",
    "control \u0001\u007f and nul \u0000 inside",
    "punctuation!!!??? ... --- ___ *** ### $$$ (a)[b]{c}<d> \"q\" `code`",
    "https://example.org/path?x=1&y=2#frag user@example.org C:\\dir\\file.txt",
    "int main() {\n    return x[i++] << 3;\n}\n",
    "a" * 300,
    "ab" * 150 + " " * 100 + "!" * 100,
    "CamelCaseWord snake_case_word SHOUTING mIxEd ſtrange",
    "\ufeffbyte order mark, \ufffd replacement, \U0010ffff last, \U00020000 ideograph",
    "Our Privacy notice; Privacy matters",
    "END.  \n  New paragraph:\n\n- item one\n- item two\n\n\n",
]


ADDED_TEXTS = ["a<|plain|>b", "<|plain|>", "one <|plain|> two<|plain|><|plain|>\n", "<|plain| >", "<<|plain|>>"]


def licence():
    return (HERE / "../../LICENSE").read_text()


def adjust(name, document):
    """What files in the wild look like and the trainer does not write."""
    if name == "gpt2":
        document["model"]["merges"] = [" ".join(pair) for pair in document["model"]["merges"]]
    if name == "llama3":
        document["model"]["ignore_merges"] = True
        # A word that merges cannot reach: only ignore_merges finds it.
        plain = document["added_tokens"][-1]
        document["model"]["vocab"]["ĠPrivacy"] = plain["id"]
        plain["id"] += 1
    if name == "gaps_unknown":
        document["model"]["unk_token"] = "<|end|>"
        document["model"]["fuse_unk"] = True
    return document


def document_of(name):
    if name in kinds.SPACE_MARKED:
        return kinds.space_marked_document(name, licence(), TEXTS, VOCABULARY)
    if name == "flags":
        lowercase = {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "Lowercase"}]}
        return kinds.with_flagged_tokens(document_of("prefix_space"), lowercase)
    if name == "flags_plain":
        return kinds.with_flagged_tokens(document_of("metaspace_first"), None)
    tokenizer = kinds.byte_level_tokenizer(name, licence(), TEXTS, VOCABULARY)
    tokenizer.add_tokens([AddedToken("<|plain|>", special=False)])
    if name == "llama3":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))]
        )
    return adjust(name, json.loads(tokenizer.to_str()))


NAMES = [*kinds.BYTE_LEVEL, *kinds.SPACE_MARKED, "flags", "flags_plain"]


def ids_of(tokenizer, texts, special_names):
    tokenizer.encode_special_tokens = not special_names
    return [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]


def vectors(tokenizer, hard):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rng = random.Random(5)
    # Where a normalizer changes the name of a special token, the package takes it for text: dslad does not.
    ids = range(tokenizer.get_vocab_size() - (len(kinds.FLAGGED) if tokenizer.token_to_id("<|both|>") else 0))
    random_ids = [[rng.choice(ids) for _ in range(rng.randrange(40))] for _ in range(40)]
    result = {
        "ids": ids_of(tokenizer, TEXTS, False),
        "added": [{"text": text, "ids": ids} for text, ids in zip(ADDED_TEXTS, ids_of(tokenizer, ADDED_TEXTS, False))],
        "hard": ids_of(tokenizer, hard, False),
    }
    special = ids_of(tokenizer, hard, True)
    result["hard_special"] = {str(i): ids for i, ids in enumerate(special) if ids != result["hard"][i]}
    if '"ByteLevel"' in tokenizer.to_str():
        result["random_ids"] = random_ids
        result["random_texts"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in random_ids]
    else:
        result["decoded"] = [tokenizer.decode(ids, skip_special_tokens=True) for ids in result["ids"]]
    return result


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n")


def write_one(folder, document, hard):
    tokenizer = Tokenizer.from_str(json.dumps(document))
    write_json(folder / "tokenizer.json", document)
    write_json(folder / "vectors.json", vectors(tokenizer, hard))


CHARACTERS = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]


def ranges(codes):
    """[first, last, first, last, ...]"""
    flat = []
    for code in sorted(codes):
        if flat and flat[-1] == code - 1:
            flat[-1] = code
        else:
            flat += [code, code]
    return flat


def members(pre_tokenizer):
    """Characters that a pre-tokenizer cuts off between two that it does not."""
    found = set()
    for start in range(0, len(CHARACTERS), 4096):
        text = "a" + "a".join(map(chr, CHARACTERS[start : start + 4096])) + "a"
        found |= {ord(piece) for piece, _ in pre_tokenizer.pre_tokenize_str(text) if len(piece) == 1 and piece != "a"}
    return ranges(found)


def class_members(pattern):
    whole = "".join(map(chr, CHARACTERS))
    kept = pre_tokenizers.Split(Regex(pattern), behavior="removed").pre_tokenize_str(whole)
    return ranges(set(CHARACTERS) - {ord(character) for piece, _ in kept for character in piece})


def checksum(normalizer):
    """FNV-1a of what each character becomes between two letters, and behind an accent that may change its place."""
    total = 0xCBF29CE484222325
    for code in (code for code in CHARACTERS if code < 0x30000):
        for text in (f"e{chr(code)}x", f"e{chr(code)}\u0334"):
            for byte in normalizer.normalize_str(text).encode():
                total = ((total ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return total


def word_characters():
    """Characters behind which an added token is no single word."""
    tokenizer = Tokenizer(models.BPE(vocab={"a": 0}, merges=[]))
    tokenizer.add_tokens([AddedToken("word", single_word=True)])
    return ranges(code for code in CHARACTERS if "word" not in tokenizer.encode("word" + chr(code)).tokens)


def unicode_tables():
    patterns = [r"\s", r"\d", r"\w", r"\p{L}", r"\p{Lu}", r"\p{Ll}", r"\p{Lt}", r"\p{Lm}", r"\p{Lo}", r"\p{M}", r"\p{N}", r"\p{P}", r"\p{S}",
                r"\p{Han}", r"\p{Hiragana}"]
    forms = {"NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
             "Lowercase": normalizers.Lowercase()}
    return {
        "classes": {pattern: class_members(pattern) for pattern in patterns},
        "Digits": members(pre_tokenizers.Digits(individual_digits=True)),
        "Punctuation": members(pre_tokenizers.Punctuation()),
        "word": word_characters(),
        "checksums": {name: checksum(form) for name, form in forms.items()},
    }


def write_check(folder, count, seed, own):
    hard = kinds.hard_texts(count, seed)
    write_json(folder / "hard_texts.json", hard)
    for name in NAMES:
        write_one(folder / name, document_of(name), hard)
    for name, path in (item.split("=", 1) for item in own):
        write_one(folder / name, json.loads(pathlib.Path(path).read_text()), hard)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bart", help="a tokenizer.json of BART")
    parser.add_argument("--check", type=pathlib.Path, help="a folder for many more texts")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("own", nargs="*", help="NAME=tokenizer.json, for --check")
    args = parser.parse_args()
    if args.check:
        return write_check(args.check, args.count, args.seed, args.own)
    hard = kinds.hard_texts(HARD_TEXTS, 0)
    write_json(OUT / "texts.json", TEXTS)
    write_json(OUT / "hard_texts.json", hard)
    write_json(OUT / "unicode.json", unicode_tables())
    for name in NAMES:
        write_one(OUT / name, document_of(name), hard)
    if args.bart:
        write_json(OUT / "bart.json", vectors(Tokenizer.from_file(args.bart), []))
    (OUT / "SOURCE.txt").write_text(f"Written by ../make_tokenizers.py with tokenizers {tokenizers.__version__}.\n")


if __name__ == "__main__":
    main()
