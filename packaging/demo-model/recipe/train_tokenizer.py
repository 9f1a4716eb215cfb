"""Trains the byte-level BPE (4096 entries, GPT-2 pre-tokenizer) on logbooks and prose."""

import argparse

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

import prose
from generator import make_logbook

SPECIAL_TOKENS = ["<|begin|>", "<|end|>"]  # ids 0 and 1: bos and eos
VOCABULARY = 4096


def training_text(logbooks, prose_bytes):
    for seed in range(logbooks):
        book = make_logbook(f"tokenizer-{seed}", 600)
        yield book.text
        yield f"\n\nSummary: {book.summary}"
        for question in book.questions:
            yield f"\n\nQuestion: {question.text}\nAnswer: {question.answer}"
    for name in prose.BOOKS:
        yield "\n".join(prose.book_sentences(name))[:prose_bytes]
    yield "\n".join(prose.stories())[: 3 * prose_bytes]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", required=True)
    parser.add_argument("--logbooks", type=int, default=1000)
    parser.add_argument("--prose-bytes", type=int, default=300_000, help="of each book")
    args = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_text(args.logbooks, args.prose_bytes), trainer)
    tokenizer.save(args.out)


if __name__ == "__main__":
    main()
