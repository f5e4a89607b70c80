"""Every family that works, by the names of its modules and what its inputs are.

A family is added by a description here; the tests of the self-test, of the capabilities (docs/models.md) and of the head
engine then run it. What a description cannot say is measured where it matters: which position a classifier reads, which
baseline has a gradient, whether a model can be run layer by layer.
"""

from __future__ import annotations

from dataclasses import replace

from xlwh.models.families.base import Blocks, Family

_NO_ENCODER = ("is_decoder", "add_cross_attention")
_BERT_BLOCKS = Blocks("encoder", "encoder.layer", "attention.output.dense")

BERT = Family(
    "bert",
    ("bert",),
    (_BERT_BLOCKS,),
    embedding="embeddings.word_embeddings",
    embedding_norm="embeddings.LayerNorm",
    positions="columns",
    token_types="own",
    no_encoder=_NO_ENCODER,
    first_token=True,
    bert_layout=True,
)
BERT_LIKE = replace(BERT, name="bert_like", model_types=("electra", "ernie"), bert_layout=False)
"""BERT's layers between embeddings or under heads of other kinds."""
REMBERT = replace(BERT_LIKE, name="rembert", model_types=("rembert",), attention=("eager",))
ALBERT = replace(
    BERT,
    name="albert",
    model_types=("albert",),
    blocks=(Blocks("encoder", "encoder.albert_layer_groups", "attention.dense", shared=True),),
    no_encoder=(),
    first_token=False,
    bert_layout=False,
)
DISTILBERT = replace(
    BERT,
    name="distilbert",
    model_types=("distilbert",),
    blocks=(Blocks("encoder", "transformer.layer", "attention.out_lin"),),
    token_types=None,
    no_encoder=(),
    first_token=False,
    bert_layout=False,
)
DEBERTA = replace(
    BERT,
    name="deberta",
    model_types=("deberta-v2",),
    no_encoder=(),
    attention=("eager",),
    first_token=False,
    bert_layout=False,
)
ROBERTA = replace(
    BERT,
    name="roberta",
    model_types=("roberta", "xlm-roberta", "camembert"),
    positions="after_padding_id",
    # There is one type only: what a tokenizer may say of the second segment has no row here.
    token_types="zero",
    position_limit="behind_padding_id",
)
XLM_ROBERTA_XL = replace(
    ROBERTA,
    name="xlm_roberta_xl",
    model_types=("xlm-roberta-xl",),
    blocks=(replace(_BERT_BLOCKS, last="encoder.LayerNorm"),),
    embedding_norm=None,
    bert_layout=False,
)
MPNET = replace(
    ROBERTA,
    name="mpnet",
    model_types=("mpnet",),
    blocks=(Blocks("encoder", "encoder.layer", "attention.attn.o"),),
    token_types=None,
    no_encoder=(),
    attention=("eager",),
    first_token=False,
    bert_layout=False,
)
MODERNBERT = Family(
    "modernbert",
    ("modernbert",),
    (Blocks("encoder", "layers", "attn.Wo", last="final_norm"),),
    embedding="embeddings.tok_embeddings",
    positions="columns",
)
EUROBERT = Family(
    "eurobert",
    ("eurobert",),
    (Blocks("encoder", "layers", "self_attn.o_proj", last="norm"),),
    embedding="embed_tokens",
    positions="columns",
    # By the name that EuroBERT's own code has for it, transformers would pass over it.
    renamed=(("clf_pooling", "classifier_pooling"),),
)
# Token types are never passed: XLM would look them up in the word embedding and add those vectors. Language ids are not
# passed either (as in most uses of these checkpoints): a checkpoint with language embeddings adds none of them. Nor does
# transformers pass a language on to the tokenizer: it cuts every text by the English rules of Moses, Chinese, Japanese
# and Thai too, for which these models were trained on the output of segmenters.
XLM = Family(
    "xlm",
    ("xlm",),
    # There is no module per layer: layers begin with their attention, and are written out in `forward`.
    (Blocks("encoder", "attentions", "out_lin", last="layer_norm2.-1", zero_padding=True),),
    embedding="embeddings",
    embedding_norm="layer_norm_emb",
    positions="columns",
    lengths=True,
    attention=("eager",),
    no_encoder=("causal",),
)

# A word vector is what the encoder's own module returns: `shared` is never called. A classifier also reads the text in
# its decoder; there it stays the real one.
T5 = Family(
    "t5",
    ("t5", "mt5", "umt5"),
    (
        Blocks(
            "encoder",
            "encoder.block",
            "layer.0.SelfAttention.o",
            last="encoder.final_layer_norm",
            depth=("num_layers",),
        ),
        Blocks(
            "decoder",
            "decoder.block",
            "layer.0.SelfAttention.o",
            cross="layer.1.EncDecAttention.o",
            last="decoder.final_layer_norm",
            depth=("num_decoder_layers", "num_layers"),
        ),
    ),
    embedding="encoder.embed_tokens",
    decoder_input="start",
    position_limit=None,
    reading_attention="cross",
)
MBART = Family(
    "mbart",
    ("mbart",),
    (
        Blocks(
            "encoder",
            "encoder.layers",
            "self_attn.out_proj",
            last="encoder.layer_norm",
            depth=("encoder_layers",),
        ),
        Blocks(
            "decoder",
            "decoder.layers",
            "self_attn.out_proj",
            cross="encoder_attn.out_proj",
            last="decoder.layer_norm",
            depth=("decoder_layers",),
        ),
    ),
    embedding="encoder.embed_tokens",
    embedding_norm="encoder.layernorm_embedding",
    decoder_input="rotated",
    language_tokens=True,
    reading_attention="cross",
)
M2M100 = replace(MBART, name="m2m_100", model_types=("m2m_100",), embedding_norm=None, decoder_input="start")

# Causal attention, and a classifier that reads the rightmost token that is not PAD. Where PAD also closes each text, the
# token before the closing one is read. Their tokenizers would glue the two segments of a pair together: a line break
# goes between, which counts as one of the tokens that give the input its structure. With grouped queries a head is a
# query head: its columns before the output projection are its own, while keys and values may be shared with its group.
DECODER = Family(
    "decoder",
    (
        *("llama", "mistral", "qwen2", "qwen3", "phi3", "smollm3"),
        *("gemma", "gemma3_text", "cohere", "cohere2"),
    ),
    (Blocks("decoder", "layers", "self_attn.o_proj", last="norm"),),
    embedding="embed_tokens",
    positions="tokens",
    padding_side="left",
    padding_sides=("left", "right"),
    pair_separator="\n",
    reading_attention="decoder",
)
# Attention scores are capped by eager attention only.
GEMMA2 = replace(DECODER, name="gemma2", model_types=("gemma2",), attention=("eager",))
GPT2 = replace(
    DECODER,
    name="gpt2",
    model_types=("gpt2",),
    blocks=(Blocks("decoder", "h", "attn.c_proj", last="ln_f"),),
    embedding="wte",
    no_encoder=("add_cross_attention",),
)
GPT_NEOX = replace(
    DECODER,
    name="gpt_neox",
    model_types=("gpt_neox",),
    blocks=(Blocks("decoder", "layers", "attention.dense", last="final_layer_norm"),),
    embedding="embed_in",
)
BLOOM = replace(
    DECODER,
    name="bloom",
    model_types=("bloom",),
    blocks=(Blocks("decoder", "h", "self_attention.dense", last="ln_f"),),
    embedding="word_embeddings",
    positions=None,
    attention=("eager",),
    position_limit=None,
)

FAMILIES: tuple[Family, ...] = (
    *(
        BERT,
        BERT_LIKE,
        REMBERT,
        ALBERT,
        DISTILBERT,
        DEBERTA,
        ROBERTA,
        XLM_ROBERTA_XL,
        MPNET,
        XLM,
        MODERNBERT,
        EUROBERT,
    ),
    *(T5, MBART, M2M100),
    *(DECODER, GEMMA2, GPT2, GPT_NEOX, BLOOM),
)
"""Every family that works."""
