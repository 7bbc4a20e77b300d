// Learning byte-level BPE merges from texts (Sennrich et al. 2016, algorithm 1): texts -> tokenizer files.
#pragma once

#include <span>
#include <string>

#include "crescendo/text/tokenizer_json.h"

namespace crescendo {

// A tokenizer in Qwen2's layout: ids 0..255 the bytes, then the merges in the order learnt, then <|endoftext|> (the pad
// token), <|im_start|> and <|im_end|>. `vocab_size` counts them all and must be at least 259. Stops early where no pair
// of tokens occurs twice, so the vocabulary may come out smaller. The same texts give the same files.
TokenizerFiles train_bpe(std::span<const std::string> texts, int64_t vocab_size);

}  // namespace crescendo
