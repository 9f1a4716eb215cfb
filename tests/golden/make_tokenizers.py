"""Makes small byte-level BPE tokenizers and what PyPI's `tokenizers` computes with them.

    python3 make_tokenizers.py [--bart tokenizer.json]     # writes tokenizers/

Trained on this repository's LICENSE and the texts below, so that the result needs nothing else.
    tokenizers/texts.json               the texts that every tokenizer encodes
    tokenizers/<name>/tokenizer.json    one kind of pre-tokenizer each
    tokenizers/<name>/vectors.json      {"ids": [ids of each text], "random_ids": [...], "random_texts": [...]}
random_texts are random_ids decoded without special tokens: most of them are broken UTF-8. "added" has texts with the name of
an added token that is not special, and their ids.
With --bart, tokenizers/bart.json holds the same for that large tokenizer, which is not copied.
"""

import argparse
import json
import pathlib
import random

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

HERE = pathlib.Path(__file__).parent
OUT = HERE / "tokenizers"
VOCABULARY = 640

LLAMA3_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)

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


def byte_level(add_prefix_space=False, use_regex=True):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), behavior="isolated")


PRE_TOKENIZERS = {
    "gpt2": byte_level(),
    "prefix_space": byte_level(add_prefix_space=True),
    "llama3": pre_tokenizers.Sequence([split(LLAMA3_PATTERN), byte_level(use_regex=False)]),
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level()]),
    "matches_only": pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(LLAMA3_PATTERN), behavior="removed", invert=True), byte_level(use_regex=False)]
    ),
}


def corpus():
    licence = (HERE / "../../LICENSE").read_text()
    return [licence] + TEXTS * 3


def train(name):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = PRE_TOKENIZERS[name]
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|begin|>", "<|end|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    tokenizer.add_tokens([AddedToken("<|plain|>", special=False)])
    if name == "llama3":
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|begin|> $A", special_tokens=[("<|begin|>", tokenizer.token_to_id("<|begin|>"))]
        )
    return tokenizer


def vectors(tokenizer):
    tokenizer.no_padding()
    tokenizer.no_truncation()
    rng = random.Random(5)
    random_ids = [[rng.randrange(tokenizer.get_vocab_size()) for _ in range(rng.randrange(40))] for _ in range(40)]
    return {
        "ids": [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS],
        "added": [{"text": text, "ids": tokenizer.encode(text, add_special_tokens=False).ids} for text in ADDED_TEXTS],
        "random_ids": random_ids,
        "random_texts": [tokenizer.decode(ids, skip_special_tokens=True) for ids in random_ids],
    }


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n")


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
    return document


def write_small(name):
    document = adjust(name, json.loads(train(name).to_str()))
    tokenizer = Tokenizer.from_str(json.dumps(document))
    write_json(OUT / name / "tokenizer.json", document)
    write_json(OUT / name / "vectors.json", vectors(tokenizer))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bart", help="a tokenizer.json of BART")
    args = parser.parse_args()
    write_json(OUT / "texts.json", TEXTS)
    for name in PRE_TOKENIZERS:
        write_small(name)
    if args.bart:
        write_json(OUT / "bart.json", vectors(Tokenizer.from_file(args.bart)))
    (OUT / "SOURCE.txt").write_text(f"Written by ../make_tokenizers.py with tokenizers {tokenizers.__version__}.\n")


if __name__ == "__main__":
    main()
