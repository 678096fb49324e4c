// SPDX-License-Identifier: Apache-2.0
// Whole networks on the GPU: the stored logits, the same logits however the tokens are cut, sequences side by
// side, graphs. Bounds on logits: 1e-2 relative L2, four times what rounding every product's operands to bf16
// costs these models; 3e-2 for checkpoints in float32, whose weights are rounded too, and for close
// comparisons of networks with seeded weights.
#include <fmt/format.h>
#include <gmock/gmock.h>

#include <algorithm>
#include <memory>
#include <optional>

#include "hostlib/backend/reference.h"
#include "hostlib/io/file.h"
#include "hostlib/io/safetensors.h"
#include "hostlib/model/generate.h"
#include "hostlib/model/tokenizer.h"
#include "kernels/attention/attention.h"
#include "kernels/cuda_model.h"
#include "tests/support/cuda_test.h"
#include "tests/support/temporary_folder.h"

namespace lawcat {
namespace {

using cuda::Attention;
using cuda::CudaModel;
using cuda::CudaSequences;
using test::distance;
using test::download;
using test::expect_input_error;
using test::upload;
using testing::HasSubstr;

constexpr double kLogitBound = 1e-2;
constexpr double kLooseBound = 3e-2;

struct Expected {
  explicit Expected(const std::filesystem::path& folder) {
    const SafeTensors file = SafeTensors::open(folder / "expected.safetensors");
    const auto ids = file.at("tokens").to_ints();
    tokens.assign(ids.begin(), ids.end());
    logits = file.at("logits").to_floats();
  }
  int count() const { return static_cast<int>(tokens.size()); }
  std::vector<int> tokens;
  std::vector<float> logits;
};

std::string identifier(const testing::TestParamInfo<const char*>& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

class ModelOnCuda : public test::CudaTest, public testing::WithParamInterface<const char*> {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (!IsSkipped()) host_ = make_cuda_host(model_);
  }
  const Model model_ = Model::load(find_model(GetParam()));
  const Expected expected_{find_model(GetParam())};
  std::unique_ptr<ModelHost> host_;
};

TEST_P(ModelOnCuda, HasTheStoredLogits) {
  const auto runner = host_->open(nullptr);
  EXPECT_LT(distance(runner->forward(expected_.tokens, expected_.count()), expected_.logits), kLogitBound);
  EXPECT_EQ(runner->position(), expected_.count());
  EXPECT_GT(runner->host_seconds(), 0);
  if (model_.is_lawcat()) {
    EXPECT_GT(runner->unit_seconds(), 0);
    EXPECT_GT(runner->counters().value("cuda.kernel_time"), 0);
  } else {
    EXPECT_EQ(runner->unit_seconds(), 0);
  }
}

TEST_P(ModelOnCuda, HasTheSameLogitsInBlocksAndTokenByToken) {
  constexpr int kTokens = 150;
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  const std::span tokens = std::span(expected_.tokens).first(kTokens);
  const std::span expected = std::span(expected_.logits).first(kTokens * vocab);
  for (const int block : {64, 7}) {
    const auto blocks = host_->open(nullptr);
    EXPECT_LT(distance(blocks->forward(tokens, kTokens, block), expected), kLogitBound)
        << "blocks of " << block;
  }
  const auto single = host_->open(nullptr);
  std::vector<float> logits;
  for (const int token : tokens) {
    const auto row = single->forward(std::span(&token, 1), 1);
    logits.insert(logits.end(), row.begin(), row.end());
  }
  EXPECT_LT(distance(logits, expected), kLogitBound) << "token by token";

  const auto both = host_->open(nullptr);
  EXPECT_TRUE(both->forward(tokens.first(100), 0).empty());
  EXPECT_LT(distance(both->forward(tokens.subspan(100), 50), expected.last(50 * vocab)), kLogitBound)
      << "in two parts";
}

TEST_P(ModelOnCuda, GivesTheSameBitsForTheSameTokens) {
  const auto a = host_->open(nullptr), b = host_->open(nullptr);
  for (const int count : {200, 1, 1, 1, 5}) {
    const auto tokens =
        std::span(expected_.tokens)
            .subspan(static_cast<std::size_t>(a->position()), static_cast<std::size_t>(count));
    EXPECT_EQ(a->forward(tokens, 1), b->forward(tokens, 1)) << count;
  }
}

TEST_P(ModelOnCuda, FindsThePassKeyGreedily) {
  const Tokenizer tokenizer = Tokenizer::load(find_model(GetParam()));
  const std::string text = tokenizer.decode(expected_.tokens);
  const std::string question = "The pass key is ";
  const std::size_t answer = text.rfind(question) + question.size();
  const auto runner = host_->open(nullptr);
  EXPECT_EQ(tokenizer.decode(generate(*runner, tokenizer.encode(text.substr(0, answer)), 5)),
            text.substr(answer, 9));
}

TEST_P(ModelOnCuda, RefusesWhatTheCpuRefusesInTheSameWords) {
  const auto runner = host_->open(nullptr);
  expect_input_error([&] { runner->forward(std::vector{1, 2, 256}, 1); }, "token 2", "below 256, got 256");
  expect_input_error([&] { runner->forward(std::vector{1, 2}, 3); }, "0 to 2 tokens, got 3");
  expect_input_error([&] { runner->forward(std::vector{1, 2}, 1, 0); }, "block_tokens");
  EXPECT_EQ(runner->position(), 0);
}

INSTANTIATE_TEST_SUITE_P(Shipped, ModelOnCuda,
                         testing::Values("passkey-tiny", "passkey-plain", "passkey-tiny-teacher"),
                         identifier);

class LawcatOnCuda : public test::CudaTest {
 protected:
  const Model model_ = Model::load(find_model("passkey-tiny"));
  const Expected expected_{find_model("passkey-tiny")};
  std::unique_ptr<Session> reference() const {
    static const std::unique_ptr<Backend> backend = make_reference_backend();
    return backend->open(model_.unit_shape(), model_.unit_weights(), model_.config().layers);
  }
};

TEST_F(LawcatOnCuda, TakesAnyBackendsSessionAsItsUnit) {
  const auto runner = make_cuda_host(model_)->open(reference());
  const auto first = runner->forward(std::span(expected_.tokens).first(300), 300, 128);
  const auto vocab = static_cast<std::size_t>(model_.config().vocab_size);
  EXPECT_LT(distance(first, std::span(expected_.logits).first(300 * vocab)), kLogitBound);
  const auto next = runner->forward(std::span(expected_.tokens).subspan(300, 1), 1);
  EXPECT_LT(distance(next, std::span(expected_.logits).subspan(300 * vocab, vocab)), kLogitBound);
  EXPECT_NE(runner->unit(), nullptr);
  EXPECT_GT(runner->unit_seconds(), 0);
}

TEST_F(LawcatOnCuda, HasTheStoredLogitsWithThePlainUnitToo) {
  const auto runner = make_cuda_host(model_, true)->open(nullptr);
  EXPECT_LT(distance(runner->forward(expected_.tokens, expected_.count()), expected_.logits), kLogitBound);
}

TEST_F(LawcatOnCuda, SoftmaxModelsRefuseAUnit) {
  const Model teacher = Model::load(find_model("passkey-tiny-teacher"));
  expect_input_error([&] { make_cuda_host(teacher)->open(reference()); }, "no unit for softmax attention");
}

class HuggingFaceOnCuda : public test::CudaTest, public testing::WithParamInterface<const char*> {};

TEST_P(HuggingFaceOnCuda, LogitsAreThoseOfTransformersAtOnceAndInBlocks) {
  const std::filesystem::path folder = data_root() / "tests/support/hf" / GetParam();
  const Model model = Model::load(folder);
  const Expected expected(folder);
  const auto host = make_cuda_host(model);
  for (const int block : {96, 7, 1})
    EXPECT_LT(
        distance(host->open(nullptr)->forward(expected.tokens, expected.count(), block), expected.logits),
        kLooseBound)
        << "blocks of " << block;
}

INSTANTIATE_TEST_SUITE_P(Checkpoints, HuggingFaceOnCuda,
                         testing::Values("llama-plain-untied", "llama3-rope-tied", "mistral-sliding"),
                         identifier);

/// Two layers with seeded weights, of either attention.
ModelConfig small(bool lawcat) {
  ModelConfig config;
  config.name = "small";
  config.hidden_size = 256;
  config.intermediate_size = 512;
  config.layers = 2;
  config.heads = 8;
  config.kv_heads = 2;
  config.head_dim = 64;
  config.vocab_size = 1000;
  config.rms_norm_eps = 1e-5;
  if (lawcat) config.lawcat = ModelConfig::Lawcat{.feature_dim = 32, .gate_low_rank = 12};
  return config;
}

class SequencesOnCuda : public test::CudaTest, public testing::WithParamInterface<bool> {
 protected:
  void SetUp() override {
    CudaTest::SetUp();
    if (IsSkipped()) return;
    stream_.emplace();
    model_.emplace(config_, 1);
  }
  CudaSequences open(int sequences) const {
    return {*model_,
            {.attention = GetParam() ? Attention::unit : Attention::softmax,
             .sequences = sequences,
             .max_tokens = 300,
             .block_tokens = 64}};
  }
  cudaStream_t stream() const { return stream_->get(); }
  /// Logits of all sequences after the work so far.
  std::vector<float> logits(const CudaSequences& sequences, int count) const {
    return download<float>(sequences.logits(), static_cast<std::size_t>(count * config_.vocab_size));
  }
  std::vector<int> prompt(int seed) const {
    std::vector<int> tokens;
    for (int i = 0; i < kPrompt; ++i) tokens.push_back((i * (17 + seed) + 31 * seed) % config_.vocab_size);
    return tokens;
  }
  static constexpr int kPrompt = 150;
  const ModelConfig config_ = small(GetParam());
  std::optional<cuda::Stream> stream_;
  std::optional<CudaModel> model_;
};

TEST_P(SequencesOnCuda, AGraphGivesTheBitsOfTheStepsThatItHolds) {
  CudaSequences eager = open(2), graph = open(2);
  for (CudaSequences* sequences : {&eager, &graph})
    for (int s = 0; s < 2; ++s) {
      const cuda::DeviceBuffer tokens = upload(prompt(s));
      sequences->prefill(tokens.as<int>(), kPrompt, s, stream());
      stream_->wait();
    }
  for (int step = 0; step < 6; ++step) {
    eager.decode(stream());
    graph.decode_graph(stream());
    EXPECT_EQ(logits(eager, 2), logits(graph, 2)) << "step " << step;
    EXPECT_EQ(download<int>(eager.next_tokens(), 2), download<int>(graph.next_tokens(), 2))
        << "step " << step;
  }
  EXPECT_TRUE(graph.decode_is_graph());
  EXPECT_FALSE(eager.decode_is_graph());
  EXPECT_EQ(graph.position(1), kPrompt + 6);
}

TEST_P(SequencesOnCuda, StepsReplayWithoutTheHostLookingOn) {
  CudaSequences watched = open(1), blind = open(1);
  const cuda::DeviceBuffer tokens = upload(prompt(0));
  watched.prefill(tokens.as<int>(), kPrompt, 0, stream());
  blind.prefill(tokens.as<int>(), kPrompt, 0, stream());
  for (int step = 0; step < 20; ++step) {
    watched.decode_graph(stream());
    stream_->wait();
    blind.decode_graph(stream());
  }
  EXPECT_EQ(logits(watched, 1), logits(blind, 1));
}

TEST_P(SequencesOnCuda, SequencesSideBySideDoNotTouchEachOther) {
  CudaSequences three = open(3);
  std::vector<std::vector<float>> alone;
  for (int s = 0; s < 3; ++s) {
    CudaSequences one = open(1);
    const cuda::DeviceBuffer tokens = upload(prompt(s));
    one.prefill(tokens.as<int>(), kPrompt, 0, stream());
    three.prefill(tokens.as<int>(), kPrompt, s, stream());
    for (int step = 0; step < 3; ++step) {
      // The same tokens for both: greedy choices may differ between two close logits.
      const std::vector<int> next = {7 * s + step};
      const cuda::DeviceBuffer id = upload(next);
      cuda::check(cudaMemcpy(one.next_tokens(), id.data(), sizeof(int), cudaMemcpyDeviceToDevice), "token");
      cuda::check(cudaDeviceSynchronize(), "token");
      one.decode(stream());
      stream_->wait();
    }
    alone.push_back(logits(one, 1));
  }
  for (int step = 0; step < 3; ++step) {
    const cuda::DeviceBuffer ids = upload(std::vector<int>{step, 7 + step, 14 + step});
    cuda::check(cudaMemcpy(three.next_tokens(), ids.data(), 3 * sizeof(int), cudaMemcpyDeviceToDevice),
                "tokens");
    cuda::check(cudaDeviceSynchronize(), "tokens");
    three.decode(stream());
    stream_->wait();
  }
  const std::vector<float> together = logits(three, 3);
  const auto vocab = static_cast<std::size_t>(config_.vocab_size);
  for (std::size_t s = 0; s < 3; ++s)
    EXPECT_LT(distance(std::span(together).subspan(s * vocab, vocab), alone[s]), kLooseBound) << s;
  EXPECT_GT(distance(alone[0], alone[1]), 0.1) << "different prompts, different logits";
}

TEST_P(SequencesOnCuda, BlocksOfAPromptGoOnFromEachOther) {
  const cuda::DeviceBuffer tokens = upload(prompt(3));
  CudaSequences blocks = open(1);  // blocks of 64
  CudaSequences whole(*model_, {.attention = GetParam() ? Attention::unit : Attention::softmax,
                                .sequences = 1,
                                .max_tokens = kPrompt,
                                .block_tokens = kPrompt});
  blocks.prefill(tokens.as<int>(), kPrompt, 0, stream());
  whole.prefill(tokens.as<int>(), kPrompt, 0, stream());
  EXPECT_LT(distance(logits(blocks, 1), logits(whole, 1)), kLooseBound);
}

TEST_P(SequencesOnCuda, ResetForgetsAndASeedRepeats) {
  const cuda::DeviceBuffer tokens = upload(prompt(0)), others = upload(prompt(5));
  CudaSequences sequences = open(1);
  sequences.prefill(tokens.as<int>(), kPrompt, 0, stream());
  const auto first = logits(sequences, 1);
  sequences.prefill(others.as<int>(), 20, 0, stream());
  sequences.reset(stream());
  sequences.prefill(tokens.as<int>(), kPrompt, 0, stream());
  EXPECT_EQ(logits(sequences, 1), first);

  const CudaModel again(config_, 1), other(config_, 2);
  const auto of = [&](const CudaModel& model) {
    CudaSequences s(model, {.attention = GetParam() ? Attention::unit : Attention::softmax,
                            .sequences = 1,
                            .max_tokens = kPrompt,
                            .block_tokens = 64});
    s.prefill(tokens.as<int>(), kPrompt, 0, stream());
    return logits(s, 1);
  };
  EXPECT_EQ(of(again), first);
  EXPECT_GT(distance(of(other), first), 0.1);
}

TEST_P(SequencesOnCuda, PiecesAloneRunAndLeaveFiniteValues) {
  CudaSequences sequences(*model_, {.attention = GetParam() ? Attention::unit : Attention::softmax,
                                    .sequences = 2,
                                    .max_tokens = 300,
                                    .block_tokens = 64,
                                    .time_unit = true});
  sequences.fill_working_memory(1, stream());
  sequences.assume_context(200, 1, stream());
  const auto width = static_cast<std::size_t>(config_.hidden_size);
  const auto expect_finite_rows = [&](std::size_t rows, const char* what) {
    for (const float value : download<float>(sequences.residual(), rows * width))
      ASSERT_TRUE(std::isfinite(value)) << what;
  };
  sequences.poison(stream());
  sequences.layer_decode(1, stream());
  stream_->wait();
  expect_finite_rows(2, "decode");
  sequences.attention_decode(0, stream());
  sequences.poison(stream());
  sequences.layer_prefill(0, 64, stream());
  stream_->wait();
  expect_finite_rows(64, "prefill");
  sequences.attention_prefill(1, 33, stream());
  stream_->wait();
  EXPECT_GT(sequences.attention_seconds(), 0);
  EXPECT_EQ(sequences.attention_seconds(), 0) << "counted once";
  for (int step = 0; step < 3; ++step) {
    sequences.set_position(200, stream());
    sequences.decode_graph(stream());
    stream_->wait();
    EXPECT_GT(sequences.attention_seconds(), 0) << "step " << step;
  }
  EXPECT_TRUE(sequences.decode_is_graph());
  for (const float value : logits(sequences, 2)) ASSERT_TRUE(std::isfinite(value));
  EXPECT_GT(sequences.bytes(), 0u);
  EXPECT_GT(model_->bytes(), 0u);
}

TEST_P(SequencesOnCuda, RefusesMoreThanItHasRoomFor) {
  CudaSequences sequences = open(1);
  expect_input_error([&] { sequences.layer_prefill(0, 65, stream()); }, "at most the 64 of a block", "65");
  const std::string layers = fmt::format("layer: expected 0 to {}", config_.layers - 1);
  expect_input_error([&] { sequences.layer_prefill(-1, 1, stream()); }, layers, "got -1");
  expect_input_error([&] { sequences.layer_decode(config_.layers, stream()); }, layers);
  expect_input_error([&] { sequences.attention_prefill(config_.layers, 1, stream()); }, layers);
  expect_input_error([&] { sequences.attention_decode(-1, stream()); }, layers);
  expect_input_error([&] { sequences.set_position(-1, stream()); }, "tokens of a sequence", "got -1");
  expect_input_error([&] { open(-1); }, "expected at least 1, 1 and 0, got -1");
  if (GetParam()) return;
  expect_input_error([&] { sequences.set_position(513, stream()); }, "key-value cache", "513");
  // The second sequence is full, the first is not.
  CudaSequences two = open(2);
  const cuda::DeviceBuffer tokens = upload(prompt(1));
  while (two.position(1) < 512) two.prefill(tokens.as<int>(), 16, 1, stream());
  expect_input_error([&] { two.layer_decode(0, stream()); }, "key-value cache", "513");
  expect_input_error([&] { two.attention_decode(0, stream()); }, "key-value cache", "513");
}

INSTANTIATE_TEST_SUITE_P(Attentions, SequencesOnCuda, testing::Bool(),
                         [](const auto& p) { return p.param ? "unit" : "softmax"; });

class TorchOnCuda : public test::CudaTest, public testing::WithParamInterface<Attention> {};

TEST_P(TorchOnCuda, AgreesWithThePlainKernels) {
  const ModelConfig config = small(false);
  if (const std::string why = cuda::why_not(GetParam(), config); !why.empty()) GTEST_SKIP() << why;
  constexpr int kTokens = 192;
  const CudaModel model(config, 1);
  const cuda::Stream stream;
  std::vector<int> prompt;
  for (int i = 0; i < kTokens; ++i) prompt.push_back(i * 17 % config.vocab_size);
  const cuda::DeviceBuffer tokens = upload(prompt);
  const auto run = [&](Attention attention) {
    CudaSequences sequences(
        model, {.attention = attention, .sequences = 1, .max_tokens = 256, .block_tokens = kTokens});
    std::vector<std::vector<float>> logits;
    const auto vocab = static_cast<std::size_t>(config.vocab_size);
    sequences.prefill(tokens.as<int>(), kTokens, 0, stream.get());
    logits.push_back(download<float>(sequences.logits(), vocab));
    for (int step = 0; step < 3; ++step) {
      sequences.set_position(kTokens, stream.get());
      const cuda::DeviceBuffer id = upload(std::vector<int>{5});
      cuda::check(cudaMemcpy(sequences.next_tokens(), id.data(), sizeof(int), cudaMemcpyDeviceToDevice),
                  "token");
      cuda::check(cudaDeviceSynchronize(), "token");
      sequences.decode_graph(stream.get());
      logits.push_back(download<float>(sequences.logits(), vocab));
    }
    return logits;
  };
  const auto expected = run(Attention::softmax), got = run(GetParam());
  for (std::size_t i = 0; i < expected.size(); ++i)
    EXPECT_LT(distance(got[i], expected[i]), kLooseBound) << i;
}

TEST_P(TorchOnCuda, RefusesPartsOfPromptsAndSequencesAtDifferentPositions) {
  const ModelConfig config = small(false);
  if (const std::string why = cuda::why_not(GetParam(), config); !why.empty()) GTEST_SKIP() << why;
  const CudaModel model(config, 1);
  const cuda::Stream stream;
  CudaSequences sequences(model,
                          {.attention = GetParam(), .sequences = 2, .max_tokens = 256, .block_tokens = 64});
  const cuda::DeviceBuffer tokens = upload(std::vector<int>(128, 3));
  expect_input_error([&] { sequences.prefill(tokens.as<int>(), 65, 0, stream.get()); }, "a whole prompt",
                     "got 65 tokens from position 0");
  EXPECT_EQ(sequences.position(0), 0);
  sequences.prefill(tokens.as<int>(), 64, 0, stream.get());
  expect_input_error([&] { sequences.prefill(tokens.as<int>(), 8, 0, stream.get()); }, "from position 64");
  expect_input_error([&] { sequences.decode(stream.get()); }, "position of sequence 1", "64, got 0");
  expect_input_error([&] { sequences.decode_graph(stream.get()); }, "position of sequence 1");
}

INSTANTIATE_TEST_SUITE_P(Kernels, TorchOnCuda,
                         testing::Values(Attention::torch_cudnn, Attention::torch_flash),
                         [](const auto& p) { return p.param == Attention::torch_cudnn ? "cudnn" : "flash"; });

TEST(AttentionOnCuda, SaysWhichModelsItTakes) {
  EXPECT_THAT(cuda::why_not(Attention::softmax, small(true)), HasSubstr("LAWCAT attention"));
  EXPECT_THAT(cuda::why_not(Attention::unit, small(false)), HasSubstr("softmax attention"));
  EXPECT_EQ(cuda::why_not(Attention::unit, small(true)), "");
  EXPECT_EQ(cuda::why_not(Attention::softmax, small(false)), "");
  ModelConfig odd = small(false);
  odd.head_dim = 48;
  EXPECT_THAT(cuda::why_not(Attention::softmax, odd), HasSubstr("not 48"));
}

// Nothing is launched: this needs no GPU.
TEST(AttentionOnCuda, RefusesCallsThatAreNotAsTheHeaderSays) {
  using cuda::Precision;
  const UnitShape shape{4, 2, 64, 32};
  for (const UnitShape& odd : {UnitShape{0, 0, 64, 32}, UnitShape{3, 2, 64, 32}})
    EXPECT_THAT(cuda::why_not(Precision::bf16, odd), HasSubstr("no multiple of kv_heads"));
  alignas(16) std::byte memory[64] = {};
  const auto is_refused = [&](const auto& change) {
    cuda::Tensors x =
        cuda::with_dense_strides({.q = memory, .k = memory, .v = memory, .gk = memory, .o = memory}, shape);
    std::size_t stride = cuda::state_bytes(shape);
    void* state = memory;
    void* workspace = memory;
    change(x, state, stride, workspace);
    return cuda::prefill(Precision::bf16, shape, memory, state, x, 9, workspace, nullptr) ==
               cudaErrorInvalidValue ||
           cuda::decode(Precision::bf16, shape, memory, state, stride, x, 1, 1, nullptr) ==
               cudaErrorInvalidValue;
  };
  using cuda::Tensors;
  EXPECT_TRUE(is_refused([](Tensors& x, void*&, std::size_t&, void*&) { x.o = nullptr; }));
  EXPECT_TRUE(is_refused([&](Tensors& x, void*&, std::size_t&, void*&) { x.k = memory + 8; }));
  EXPECT_TRUE(is_refused([](Tensors& x, void*&, std::size_t&, void*&) { x.v_stride += 4; }));
  EXPECT_TRUE(is_refused([](Tensors&, void*& state, std::size_t&, void*&) { state = nullptr; }));
  EXPECT_TRUE(is_refused([&](Tensors&, void*&, std::size_t&, void*& workspace) { workspace = memory + 1; }));

  const Tensors x =
      cuda::with_dense_strides({.q = memory, .k = memory, .v = memory, .gk = memory, .o = memory}, shape);
  const std::size_t block = cuda::state_bytes(shape);
  for (const std::size_t stride : {block - 16, block + 8})
    EXPECT_EQ(cuda::decode(Precision::bf16, shape, memory, memory, stride, x, 1, 2, nullptr),
              cudaErrorInvalidValue)
        << stride;
  UnitWeights weights;
  std::vector<std::byte> packed(cuda::weight_bytes(shape));
  expect_input_error([&] { cuda::pack_weights(shape, weights, packed); }, "unit weights q_conv1d");
}

TEST(HostCuda, WithoutAGpuSaysSoInASentence) {
  if (cuda::device_problem().empty()) GTEST_SKIP() << "this machine has a GPU";
  const Model model = Model::load(find_model("passkey-tiny"));
  expect_input_error([&] { make_cuda_host(model); }, "host cuda: ", cuda::device_problem());
}

TEST(HostCuda, RefusesAShapeWithoutWeights) {
  const Model shape = Model::load(find_model("llama3.2-1b"));
  expect_input_error([&] { make_cuda_host(shape); }, "llama3.2-1b", "expected weights, got a shape only");
}

}  // namespace
}  // namespace lawcat
