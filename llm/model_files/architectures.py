"""Architectures: which the engine can build, and what those that do not chat are for.

A file of an architecture that is not here is refused before the engine sees it.
The names are those of the engine's own table (LLM_ARCH_NAMES in llama.cpp's
src/llama-arch.cpp) at the version that requirements.lock names; a test compares
them with the engine as it is installed.
"""

KNOWN = frozenset(
    """
    afmoe apertus arcee arctic arwkv7 baichuan bailingmoe bailingmoe2 bailingmoe3 bert bitnet bloom chameleon
    chatglm clip codeshell cogvlm cohere2 cohere2moe command-r dbrx deci deepseek deepseek2 deepseek2-ocr
    deepseek32 deepseek4 dflash dots1 dots3note dream eagle3 ernie4_5 ernie4_5-moe eurobert exaone exaone-moe
    exaone4 falcon falcon-h1 gemma gemma-embedding gemma-embedding2 gemma2 gemma3 gemma3n gemma4 gemma4-assistant
    glm-dsa glm4 glm4moe glm5-next gpt-oss gpt2 gptneox granite granite_swa granitehybrid granitemoe
    graniteswitch grok grovemoe hrm_text hunyuan-dense hunyuan-moe hunyuan_vl hy_v3 hy_v4 internlm2 jais jais2
    jamba jina-bert-v2 jina-bert-v3 k2-horizon kimi-k3 kimi-linear laguna lfm2 lfm2moe llada llada-moe llama
    llama-embed llama4 maincoder mamba mamba2 maple mellum mimo2 minicpm minicpm3 minimax-01 minimax-m2 minimax-m3
    mistral3 mistral4 modern-bert mpt nanbeige nemotron nemotron_h nemotron_h_moe neo-bert nomic-bert
    nomic-bert-moe olmo olmo2 olmoe openelm orion paddleocr pangu-embedded phi2 phi3 phimoe plamo plamo2 plamo3
    plm pockettts qwen qwen2 qwen2moe qwen2vl qwen3 qwen35 qwen35moe qwen3moe qwen3next qwen3tts qwen3vl
    qwen3vlmoe qwen4exp refact rnd1 rwkv6 rwkv6qwen2 rwkv7 seed_oss smallthinker smollm3 spark2_5 stablelm
    starcoder starcoder2 step35 t5 t5encoder talkie wavtokenizer-dec xverse
    """.split()  # noqa: SIM905 - a table that is compared by eye
)

# They read a text and give one vector for it; they write none.
ENCODERS = frozenset(
    """
    bert eurobert gemma-embedding gemma-embedding2 jina-bert-v2 jina-bert-v3 llama-embed modern-bert neo-bert
    nomic-bert nomic-bert-moe t5encoder
    """.split()  # noqa: SIM905 - a table that is compared by eye
)

# Of those, the ones that remember nothing of what they have read: each text is read in one piece.
# (llama_model::create_memory in src/llama-model.cpp)
FORGETFUL = ENCODERS - {"gemma-embedding2", "llama-embed", "t5encoder"}

# As rerankers they tell a share of 1, and not a number without bounds (build_pooling in src/llama-graph.cpp).
JUDGE_IN_SHARES = frozenset({"qwen3", "qwen3vl"})

PROJECTOR = "clip"

# Known to the engine, and of no use without another model, or for speech.
HELPERS = frozenset({"dflash", "eagle3", "gemma4-assistant", "pockettts", "qwen3tts", "wavtokenizer-dec"})

# Every how manieth layer sees the whole context, where the others see a window
# of it and the file does not say so itself (set_swa_pattern in src/models/).
WINDOW_EVERY = {"cohere2": 4, "exaone4": 4, "gemma-embedding": 6, "gemma2": 2, "gemma3": 6, "gpt-oss": 2}
