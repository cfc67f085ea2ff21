"""Speech models of transformers with random weights, as folders of the hub have them."""

import json
from pathlib import Path

import torch

SMALL = {
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24, "conv_dim": (8, 8),
    "conv_kernel": (10, 8), "conv_stride": (8, 8), "num_feat_extract_layers": 2, "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}  # fmt: skip


def wav2vec2(folder: Path) -> Path:
    """One that spells letters."""
    from transformers import (
        Wav2Vec2Config,
        Wav2Vec2CTCTokenizer,
        Wav2Vec2FeatureExtractor,
        Wav2Vec2ForCTC,
        Wav2Vec2Processor,
    )

    vocabulary = {name: place for place, name in enumerate(["<pad>", "<s>", "</s>", "<unk>", "|", *"ABCDEFG"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(folder)
    torch.manual_seed(3)
    Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=len(vocabulary), **SMALL)).save_pretrained(folder)
    return folder


def hubert(folder: Path) -> Path:
    """One that only has hidden states."""
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(4)
    HubertModel(HubertConfig(**SMALL)).save_pretrained(folder)
    return folder


def byte_letters() -> list[str]:
    """How byte-level vocabularies write the 256 bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    odd = [byte for byte in range(256) if byte not in plain]
    return [chr(byte) for byte in plain] + [chr(256 + place) for place in range(len(odd))]


def whisper(folder: Path) -> Path:
    """One that writes: tokenizer, features, generation settings and weights."""
    from transformers import (
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
        WhisperProcessor,
        WhisperTokenizer,
    )

    letters = byte_letters()
    (folder / "vocab.json").write_text(json.dumps({letter: place for place, letter in enumerate(letters)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    special = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|translate|>", "<|transcribe|>", "<|nospeech|>",
               "<|notimestamps|>"]  # fmt: skip
    tokenizer = WhisperTokenizer(
        str(folder / "vocab.json"), str(folder / "merges.txt"), additional_special_tokens=special
    )
    ids = {name: tokenizer.convert_tokens_to_ids(name) for name in ["<|endoftext|>", *special]}
    WhisperProcessor(WhisperFeatureExtractor(feature_size=20), tokenizer).save_pretrained(folder)
    torch.manual_seed(5)
    ends = {"pad_token_id": ids["<|endoftext|>"], "bos_token_id": ids["<|endoftext|>"],
            "eos_token_id": ids["<|endoftext|>"], "decoder_start_token_id": ids["<|startoftranscript|>"]}  # fmt: skip
    config = WhisperConfig(
        vocab_size=len(tokenizer), num_mel_bins=20, d_model=16, encoder_layers=1, decoder_layers=1,
        encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
        max_target_positions=24, **ends,
    )  # fmt: skip
    net = WhisperForConditionalGeneration(config)
    net.generation_config = GenerationConfig(
        max_length=12, is_multilingual=True, lang_to_id={name: ids[name] for name in ("<|en|>", "<|de|>")},
        task_to_id={"transcribe": ids["<|transcribe|>"], "translate": ids["<|translate|>"]},
        no_timestamps_token_id=ids["<|notimestamps|>"], suppress_tokens=[], begin_suppress_tokens=[],
        return_timestamps=False, **ends,
    )  # fmt: skip
    net.save_pretrained(folder)
    return folder
