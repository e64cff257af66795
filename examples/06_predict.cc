// A saved model put to use: loads it, reads one picture, and says what the model takes it for. Needs the frontend and
// the pictures alone: no data sets, no plots.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "weir/core/strings.h"
#include "weir/examples/common.h"
#include "weir/frontend/model_files.h"
#include "weir/frontend/pictures/image.h"

ABSL_FLAG(std::string, model, "", "folder of a saved model (02_cifar10 --save)");
ABSL_FLAG(std::string, image, "", "a PNG or JPEG file of any size");
ABSL_FLAG(int, top, 3, "how many classes are printed, the likeliest first");
ABSL_FLAG(std::vector<std::string>, classes, {},
          "names of the classes in the order of the model's outputs; empty: those it was trained on, or CIFAR-10's");

namespace {

namespace k = weir;

[[noreturn]] void Fail(const std::string& message) {
  std::cerr << "error: " << message << "\n";
  std::exit(1);
}

// The picture as the model's input was in training, but for the scale: of its size and channels, in 0..255.
k::Tensor ReadPicture(const std::string& file, const k::TensorSpec& input) {
  const bool picture = input.rank() == 4 && (input.dims[3] == 1 || input.dims[3] == 3 || input.dims[3] == 4) &&
                       input.dims[1] != k::kNone && input.dims[2] != k::kNone;
  if (!picture) Fail(k::StrCat("the model's input is ", k::ShapeText(input.dims), ", no picture of a known size"));
  auto image = k::LoadImage(file, {.channels = static_cast<k::Channels>(input.dims[3])});
  k::examples::ExitIfError(image.status());
  const k::Tensor resized = k::Resize(*image, input.dims[1], input.dims[2]);
  return resized.Reshaped({1, input.dims[1], input.dims[2], input.dims[3]});
}

std::vector<std::string> ClassNames(const k::Model& model) {
  if (const std::vector<std::string> given = absl::GetFlag(FLAGS_classes); !given.empty()) return given;
  if (!model.class_names().empty()) return model.class_names();
  return {"airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"};
}

// Scores as probabilities: a model ends in a softmax already or, as the tutorial's, in a sigmoid for each class.
std::vector<double> Probabilities(const k::Tensor& output) {
  const std::span<const float> scores = output.data<float>();
  double sum = 0;
  for (float score : scores) {
    if (!(score >= 0)) Fail("the model's outputs are no probabilities: one is negative or not a number");
    sum += score;
  }
  std::vector<double> shares(scores.begin(), scores.end());
  for (double& share : shares) share = sum > 0 ? share / sum : 1.0 / static_cast<double>(shares.size());
  return shares;
}

}  // namespace

int main(int argc, char** argv) try {
  k::examples::Start(argc, argv, "Says what a saved model takes a picture for: --model=FOLDER --image=FILE.");
  const std::string folder = absl::GetFlag(FLAGS_model), file = absl::GetFlag(FLAGS_image);
  if (folder.empty() || file.empty()) Fail("expected --model=FOLDER and --image=FILE");
  const auto model = k::LoadModel(folder, {}, /*compile=*/false);
  k::examples::ExitIfError(model.status());
  if (model->inputs().size() != 1 || model->outputs().size() != 1) Fail(folder + ": expected one input and one output");

  // As bytes were scaled in training; a model that nobody has told of that takes 0..1.
  const double scale = model->input_scale().value_or(1 / 255.0);
  const k::Tensor output = model->PredictOne(ReadPicture(file, model->inputs()[0].spec()), {.scale = scale});
  const std::vector<std::string> names = ClassNames(*model);
  if (output.size() != static_cast<int64_t>(names.size())) {
    Fail(k::StrCat("the model tells ", output.size(), " classes apart, ", names.size(),
                   " have names (--classes=NAME,NAME,... gives others)"));
  }
  const std::vector<double> shares = Probabilities(output);
  std::vector<size_t> order(shares.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return shares[a] > shares[b]; });
  order.resize(std::min(order.size(), static_cast<size_t>(std::max(1, absl::GetFlag(FLAGS_top)))));
  for (size_t i : order) {
    std::cout << std::fixed << std::setprecision(1) << std::setw(5) << 100 * shares[i] << " %  " << names[i] << "\n";
  }
} catch (const std::exception& error) {
  return k::examples::Failed(error);
}
