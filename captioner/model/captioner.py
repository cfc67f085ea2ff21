"""The ECPA captioner: what it sees of a clip, the three losses it learns from, the evidence for its words.

Axes: B clips, T frames, M video tokens, K action units, L caption pieces, J pieces of the text encoder,
C emotions, D width. The right block of the fusion is [class token | ER, reading | AU_1..K | video], parts as
configured.
"""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from captioner.config import ModelConfig
from captioner.errors import ConfigError
from captioner.faces.points import EXPRESSION_NAMES
from captioner.lexicon.actions import ACTIONS
from captioner.lexicon.phrases import PHRASES
from captioner.model.batch import MEASURES, NO_LABEL, Batch, EncodedClip, features_of_faces
from captioner.model.experts import build_experts
from captioner.model.fusion import KINDS, Fusion
from captioner.model.text_encoder import TextEncoder
from captioner.model.video_encoder import VideoEncoder
from prompts.action_units import MAIN_AUS
from prompts.alignment import (
    ERSentence,
    Matching,
    au_word_contrastive,
    au_word_cross_entropy,
    au_word_loss,
    cosine,
    match,
    own_words_loss,
    similarity_cross_entropy,
    similarity_loss,
)
from prompts.textual import TextualPrompts
from prompts.visual import ExpertFeatures, VisualPrompts

# What a reading takes and judges.
MEASURED = (len(MAIN_AUS) + len(EXPRESSION_NAMES), len(PHRASES), len(ACTIONS))


@dataclass
class CaptionLosses:
    """The live losses by name (mlm, er, au) and what is worth watching beside them."""

    live: dict[str, Tensor]
    counts: Tensor  # (2,) AU-word pairs counted as positive, and those of them above the threshold by themselves

    told: dict[str, Tensor] = field(default_factory=dict)  # what only the log wants

    @property
    def positives(self) -> Tensor:
        """AU-word pairs counted as positive, those kept or warmed up included."""
        return self.counts[0]


class EmotionCaptioner(nn.Module):
    """Frames and expert features in, masked-word, ER-sentence and AU-word losses out (eq 15 without its weights)."""

    def __init__(self, config: ModelConfig, *, load: bool = True) -> None:
        super().__init__()
        if config.vocab_size < 6:
            raise ValueError("config.vocab_size is not set: build the tokenizer first")
        self.config = config
        prompts, width, classes = config.prompts, config.fusion.width, len(config.labels)
        self.video = VideoEncoder(config.video, load=load)
        self.video_in = nn.Linear(self.video.width, config.fusion.visual_width)
        self.video_out = nn.Linear(config.fusion.visual_width, width)
        self.fusion = Fusion(config.fusion, config.vocab_size)
        self.video_drop = nn.Dropout(config.fusion.dropout)
        if prompts.reads and not (prompts.vep and config.experts.margin is not None):
            raise ConfigError(
                f"model.prompts.{prompts.reads} needs model.prompts.vep and experts that look at aligned crops "
                "(experts.margin)"
            )
        if prompts.vep:
            self.experts = build_experts(config.experts, load=load)
            er_width, au_width = self.experts.er.width, self.experts.au.config.nodes
            unusable = tuple(list(MAIN_AUS).index(au) for au in config.experts.untrained_aus)
            self.visual = VisualPrompts(
                er_width,
                au_width,
                width,
                k=prompts.k,
                unusable=unusable,
                reading=MEASURED if prompts.reading else None,
                measures=len(MEASURES) if prompts.measured else 0,
            )
        self.aligned = prompts.er_sentence != "off" or prompts.au_word != "off"
        if self.aligned:
            self.text = TextEncoder(config.text, config.vocab_size, load=load)
            if config.text.share_words:
                self.text.net.embeddings.word_embeddings = self.fusion.embed.words  # type: ignore[union-attr]
        if prompts.tep:
            self.textual = TextualPrompts(config.text.width, width, classes)
        if prompts.er_sentence == "aware":
            self.er_sentence = ERSentence(width, classes)

    def expert_features(self, batch: Batch) -> ExpertFeatures | None:
        """Cached features, or the frozen experts run on the crops; None without VEP."""
        if not self.config.prompts.vep:
            return None
        if batch.experts is not None:
            return batch.experts
        if batch.faces is None:
            raise ValueError("visual prompts need expert features or face crops in the batch")
        return features_of_faces(self.experts, batch.faces)

    def see(self, batch: Batch) -> EncodedClip:
        """Encode a batch of clips and run the right block once."""
        frozen = self.video(batch.frames) if batch.video is None else batch.video
        video = self.video_drop(self.video_out(self.video_in(frozen)))  # (B, M, D)
        features = self.expert_features(batch)
        tokens = self.visual(features, batch.measured) if features is not None else None
        er, au = (tokens.er, tokens.au) if tokens is not None else (None, None)  # a reading stands beside the ER token
        belief = emotion = class_token = None
        if self.config.prompts.tep:
            belief = self.textual.belief(er[:, 0] if er is not None else video.mean(1))
            own, weight = belief.softmax(-1), self.config.emotion_net_weight
            if weight and features is not None:
                share = weight * features.present[:, None].float()
                own = torch.lerp(own.float(), features.er_probs.float(), share)
            emotion = self.mixed_belief(own, batch.prior)
            class_token = self.textual.class_token(emotion)
        prompts, places = self.prompt_block(class_token, er, au)
        memory = self.fusion.remember(torch.cat(prompts if self.config.prompts.alone else [*prompts, video], 1))
        return EncodedClip(
            memory=memory,
            belief=belief,
            emotion=emotion,
            class_token=class_token,
            er=memory.states[:, places["er"]][:, 0] if er is not None else None,
            au=memory.states[:, places["au"]] if au is not None else None,
            au_index=tokens.au_index if tokens is not None else None,
            au_scores=tokens.au_scores if tokens is not None else None,
            experts=features,
        )

    def prompt_block(self, *prompts: Tensor | None) -> tuple[list[Tensor], dict[str, slice]]:
        """The prompts that there are, in the order of KINDS and told their kind, and where each stands."""
        parts: list[Tensor] = []
        places: dict[str, slice] = {}
        first = 0
        for number, (kind, prompt) in enumerate(zip(KINDS, prompts, strict=True)):
            if prompt is not None:
                parts.append(prompt + self.fusion.kinds.weight[number])
                places[kind] = slice(first, first + prompt.shape[1])
                first += prompt.shape[1]
        return parts, places

    def mixed_belief(self, own: Tensor, prior: Tensor | None) -> Tensor:
        """The visual head's probabilities (B, C) and, where one is configured, the emotion prior's: a weighted mean.

        A product would let either side veto the other, and CLIP's temperature of 0.01 makes beliefs near 0 and 1.
        """
        if not self.config.emotion_prior:
            return own
        if prior is None:
            raise ConfigError("model.emotion_prior is set, but the clips come without its belief")
        weight = self.config.prior_weight
        return weight * prior + (1 - weight) * own

    @property
    def emotion_source(self) -> str:
        """Whose belief the emotion probabilities are."""
        weight, prior = self.config.prior_weight, self.config.emotion_prior
        return f"{weight:g} {prior} + {1 - weight:g} own head" if prior else "own head"

    def forward(self, batch: Batch, *, warm: bool = False) -> CaptionLosses:
        """The live losses of a batch; `warm` while every matched AU-word pair counts as positive."""
        encoded = self.see(batch)
        live = {"mlm": self.masked_words(encoded, batch)}
        counts = torch.zeros(2, device=batch.frames.device)
        if self.aligned:
            assert batch.text_ids is not None and batch.text_mask is not None
            features = self.text(batch.text_ids, batch.text_mask)  # (B, J, text width)
            if self.config.prompts.er_sentence != "off":
                live["er"] = self.emotion_loss(encoded, features, batch)
            if self.config.prompts.au_word != "off":
                live["au"], counts = self.au_loss(encoded, features, batch, warm)
        return CaptionLosses(live, counts)

    def masked_words(self, encoded: EncodedClip, batch: Batch) -> Tensor:
        """Eq 14: mean cross-entropy over the masked places."""
        assert batch.masked is not None and batch.targets is not None
        repeats = len(batch.masked) // len(batch.frames)
        memory = encoded.memory.repeat(repeats) if repeats > 1 else encoded.memory
        states = self.fusion.write(batch.masked, memory).flatten(0, 1)
        asked = batch.asked_places()
        return F.cross_entropy(self.fusion.head(states[asked]).float(), batch.targets.flatten()[asked],
                               label_smoothing=self.config.fusion.label_smoothing)  # fmt: skip

    def emotion_loss(self, encoded: EncodedClip, features: Tensor, batch: Batch) -> Tensor:
        """Eq 8 or its Table VI variants, plus the visual head that inference uses."""
        assert encoded.er is not None and encoded.class_token is not None and encoded.belief is not None
        assert batch.emotion is not None and batch.text_mask is not None
        sentence = self.textual.sentence_feature(features, batch.text_mask.float(), encoded.class_token)
        kind = self.config.prompts.er_sentence
        visual = label_loss(encoded.belief, batch.emotion)
        if kind == "similarity":
            return visual + similarity_loss(encoded.er, sentence)
        if kind == "similarity_ce":
            return visual + similarity_cross_entropy(encoded.er, sentence, self.config.prompts.temperature)
        return visual + label_loss(self.er_sentence(encoded.er, sentence), batch.emotion)

    def au_loss(self, encoded: EncodedClip, features: Tensor, batch: Batch, warm: bool) -> tuple[Tensor, Tensor]:
        """Eqs 9-12 or their Table VI variants, and the (2,) pairs that are positive, and above the threshold."""
        assert encoded.au is not None and batch.text_words is not None
        prompts = self.config.prompts
        words = self.textual.word_features(features)
        similarity = cosine(encoded.au, words)
        matching = match(similarity, batch.text_words)
        searched = torch.zeros(())
        if prompts.own_words:
            assert encoded.au_index is not None and encoded.au_scores is not None
            seen = encoded.au_scores > 0.5  # standard deviations above the AU's mean
            soft, searched = own_words_loss(
                encoded.au, encoded.au_index, seen, words, batch.text_words, prompts.temperature
            )
        loss, positives = au_word_loss(
            similarity,
            batch.text_words,
            matching,
            threshold=prompts.threshold,
            margin=prompts.margin,
            warm=warm if not prompts.own_words else (searched == 0) & warm,
            keep_best=prompts.keep_best,
            others=prompts.unmatched,
            two_sided=prompts.negatives == "two-sided",
        )
        if prompts.own_words:
            # The first pairs decide which words are ever matched: the search comes first, eq 12 holds what it found.
            alone = prompts.own_words * soft
            loss = torch.where(searched > 0, alone, loss) if warm else loss + alone
        if prompts.au_word == "ce":
            loss = au_word_cross_entropy(similarity, batch.text_words, matching, prompts.temperature)
        if prompts.au_word == "contrastive":
            loss = au_word_contrastive(encoded.au, words, batch.text_words, prompts.temperature)
        above = ((matching.similarity.detach() > prompts.threshold) & matching.made).sum()
        return loss, torch.stack([positives, above]).float()

    def evidence(self, encoded: EncodedClip, ids: Tensor, mask: Tensor, words: Tensor) -> Matching | None:
        """Which written word (B, J) each action unit supports; None without AU-word alignment."""
        if encoded.au is None or not self.aligned:
            return None
        return match(cosine(encoded.au, self.textual.word_features(self.text(ids, mask))), words)


def label_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy over labelled clips; 0, with its graph intact, when there is none."""
    total = F.cross_entropy(logits.float(), labels, ignore_index=NO_LABEL, reduction="sum")
    return total / (labels != NO_LABEL).sum().clamp(min=1)
