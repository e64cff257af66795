// libtorch on the tutorial's model: training steps and inference, in NCHW and in channels_last. Speaks the protocol of
// peer_server.h; tasks are
//
//   training BATCH FORMAT      forward, loss, gradients, Adam, MaxNorm
//   inference BATCH FORMAT     forward only, in inference mode
//
// with FORMAT contiguous, channels_last or any (the faster one).
#include <torch/torch.h>

#include <cstdlib>
#include <memory>
#include <stdexcept>

#include "weir/bench/peers/peer_server.h"

namespace weir::peers {
namespace {

namespace F = torch::nn::functional;

constexpr double kEpsilon = 1e-7;  // Keras's: of Adam, MaxNorm and the clipping of probabilities
constexpr double kMaxNorm = 3;

struct TutorialNet : torch::nn::Module {
  explicit TutorialNet(at::MemoryFormat format) {
    register_module("conv1", conv1);
    register_module("conv2", conv2);
    register_module("dense1", dense1);
    register_module("dense2", dense2);
    for (const auto& conv : {conv1, conv2}) conv->weight.set_data(conv->weight.contiguous(format));
  }

  torch::Tensor forward(const torch::Tensor& pictures) {
    torch::Tensor x = torch::dropout(torch::relu(conv1(pictures)), 0.3, is_training());
    x = torch::max_pool2d(torch::relu(conv2(x)), 2);
    x = torch::dropout(torch::relu(dense1(x.flatten(1))), 0.5, is_training());
    return torch::sigmoid(dense2(x));
  }

  torch::nn::Conv2d conv1{torch::nn::Conv2dOptions(3, 32, 3).padding(1)};
  torch::nn::Conv2d conv2{torch::nn::Conv2dOptions(32, 32, 3).padding(1)};
  torch::nn::Linear dense1{8192, 512}, dense2{512, 10};
};

// Weights as Keras's MaxNorm(3, axis=0) leaves them. Keras's first axis is the window's height in a convolution, the
// inputs in a dense layer.
void Constrain(TutorialNet& net) {
  const torch::NoGradGuard no_gradients;
  const auto limit = [](const torch::Tensor& weights, int64_t axis) {
    const torch::Tensor norms = weights.square().sum(axis, /*keepdim=*/true).sqrt_();
    weights.mul_(norms.clamp(0, kMaxNorm) / (norms + kEpsilon));
  };
  limit(net.conv1->weight, 2);
  limit(net.conv2->weight, 2);
  limit(net.dense1->weight, 1);
}

Candidate Training(int64_t batch, at::MemoryFormat format, const char* name) {
  const auto net = std::make_shared<TutorialNet>(format);
  net->train();
  const auto adam =
      std::make_shared<torch::optim::Adam>(net->parameters(), torch::optim::AdamOptions(1e-3).eps(kEpsilon));
  const torch::Tensor pictures = torch::rand({batch, 3, 32, 32}).contiguous(format);
  const torch::Tensor labels = torch::arange(batch).remainder(10);
  return {name, [=] {
            const torch::Tensor probabilities = net->forward(pictures).clamp(kEpsilon, 1 - kEpsilon);
            const torch::Tensor loss = F::nll_loss(F::log_softmax(probabilities.log(), 1), labels);
            for (torch::Tensor& parameter : net->parameters()) parameter.mutable_grad().reset();
            loss.backward();
            adam->step();
            Constrain(*net);
          }};
}

Candidate Inference(int64_t batch, at::MemoryFormat format, const char* name) {
  const auto net = std::make_shared<TutorialNet>(format);
  net->eval();
  const torch::Tensor pictures = torch::rand({batch, 3, 32, 32}).contiguous(format);
  return {name, [=] {
            const c10::InferenceMode mode;
            net->forward(pictures);
          }};
}

std::vector<Candidate> Make(const std::vector<std::string>& words) {
  if (words.size() != 3) throw std::runtime_error("a task is a kind, a batch and a format");
  const int64_t batch = std::stoll(words[1]);
  if (words[0] != "training" && words[0] != "inference") throw std::runtime_error("unknown task " + words[0]);
  const auto make = words[0] == "training" ? Training : Inference;
  std::vector<Candidate> candidates;
  if (words[2] != "channels_last") candidates.push_back(make(batch, at::MemoryFormat::Contiguous, "contiguous"));
  if (words[2] != "contiguous") candidates.push_back(make(batch, at::MemoryFormat::ChannelsLast, "channels_last"));
  return candidates;
}

}  // namespace
}  // namespace weir::peers

// torch_peer THREADS
int main(int argc, char** argv) {
  if (argc > 1) at::set_num_threads(std::atoi(argv[1]));
  torch::manual_seed(0);
  return weir::peers::Serve("libtorch " TORCH_VERSION, weir::peers::Make);
}
