// What each layer of a model makes of one picture: its feature maps as pictures and raw values, or the gradients of
// the loss with respect to them. The model is a saved one (02_cifar10 --save), or a fresh one with random weights.
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "weir/examples/common.h"
#include "weir/frontend/keras.h"

ABSL_FLAG(std::string, model, "", "folder of a saved model; empty: the tutorial's model with random weights");
ABSL_FLAG(std::string, image, "", "a PNG or JPEG file of any size; empty: a training picture");
ABSL_FLAG(int, index, 7, "which training picture, without --image");
ABSL_FLAG(int, label, -1, "with --gradients, the class the picture counts as; -1: its own, or the predicted one");
ABSL_FLAG(bool, gradients, false, "draw gradients of the loss instead of values");
ABSL_FLAG(bool, common_scale, false, "one colour scale for all maps of a layer instead of one a map");
ABSL_FLAG(bool, overlay, false, "also lay the mean magnitude of each layer's maps over the picture");
ABSL_FLAG(std::string, out, "feature_maps", "folder for the pictures (.png) and values (.npy)");

namespace {

namespace k = weir;

k::Model FreshModel() {
  return k::Sequential({
      k::Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu", .input_shape = {32, 32, 3}}),
      k::Dropout(0.3),
      k::Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu"}),
      k::MaxPooling2D(), k::Flatten(), k::Dense({.units = 512, .activation = "relu"}), k::Dropout(0.5),
      k::Dense({.units = 10, .activation = "sigmoid"})});
}

k::Model TheModel() {
  if (absl::GetFlag(FLAGS_model).empty()) return FreshModel();
  auto model = k::LoadModel(absl::GetFlag(FLAGS_model));
  k::examples::ExitIfError(model.status());
  return *model;
}

struct Picture {
  k::Tensor pixels;  // (1, height, width, 3) in 0..1, to be looked at
  k::Tensor input;   // the same as the model takes it
  int32_t label = -1;
  std::string title;
};

// As the model's training scaled bytes; a model that nobody has told of that takes 0..1.
k::Tensor AsInput(const k::Model& model, const k::Tensor& pixels) {
  const double scale = 255 * model.input_scale().value_or(1 / 255.0);
  if (scale == 1) return pixels;
  k::Tensor input = pixels.Clone();
  for (float& value : input.data<float>()) value = static_cast<float>(value * scale);
  return input;
}

Picture ThePicture(const k::Model& model) {
  const std::vector<int64_t> input_shape = model.inputs()[0].shape();
  if (input_shape.size() != 4 || input_shape[1] == k::kNone || input_shape[2] == k::kNone || input_shape[3] != 3) {
    k::examples::ExitIfError(absl::InvalidArgumentError(
        k::StrCat("the model's input is ", k::ShapeText(input_shape), ", no colour picture of a known size")));
  }
  const std::string file = absl::GetFlag(FLAGS_image);
  if (!file.empty()) {
    auto image = k::LoadImage(file);
    k::examples::ExitIfError(image.status());
    k::Tensor resized = k::Resize(*image, input_shape[1], input_shape[2]);
    for (float& value : resized.data<float>()) value /= 255;
    const k::Tensor pixels = resized.Reshaped({1, input_shape[1], input_shape[2], 3});
    return {pixels, AsInput(model, pixels), -1, file};
  }
  const auto data = k::datasets::LoadCifar10OrGenerated();
  k::examples::ExitIfError(data.status());
  const int64_t index = absl::GetFlag(FLAGS_index);
  k::examples::ExitIfOutside("index", index, data->data.train.size(), "training pictures");
  const k::Dataset one = data->data.train.Slice(index, index + 1).Scaled(1 / 255.0);
  return {one.image(0), AsInput(model, one.image(0)), one.label(0), one.name + " training picture " + std::to_string(index) + ", " + one.class_name(0)};
}

// Lays the mean magnitude over all maps onto the picture: where the layer sees something.
void DrawOverlay(const std::string& name, const k::Tensor& value, const Picture& picture) {
  const auto graph = k::Graph::Create();
  const k::Tensor mean = k::Evaluate(k::Mean(k::Abs(graph->Data(value)), {3}));
  k::examples::ExitIfError(k::plot::SaveHeatMap(picture.pixels, mean[0], absl::GetFlag(FLAGS_out) + "/" + name + "_overlay.png",
                                                {.title = name + " over " + picture.title}));
}

// Draws a value with spatial axes as maps, any other as one row.
void Draw(const std::string& name, const k::Tensor& value, const Picture& picture) {
  const std::string path = absl::GetFlag(FLAGS_out) + "/" + name + ".png";
  const bool spatial = value.shape().rank() == 4;
  const k::Tensor maps = spatial ? value : value.Reshaped({1, 1, -1, 1});
  using Scale = k::plot::FeatureMapOptions::Scale;
  k::examples::ExitIfError(k::plot::SaveFeatureMaps(
      maps, path,
      {.scale = absl::GetFlag(FLAGS_common_scale) ? Scale::kCommon : Scale::kPerMap,
       // Gradients have signs.
       .colormap = absl::GetFlag(FLAGS_gradients) ? k::Colormap::kDiverging : k::Colormap::kViridis,
       .title = name + (absl::GetFlag(FLAGS_gradients) ? ": gradient of the loss" : "") + " for " + picture.title,
       .input = spatial ? picture.pixels : k::Tensor(),
       .save_values = true}));
  if (spatial && absl::GetFlag(FLAGS_overlay)) DrawOverlay(name, value, picture);
  std::cout << path << "  " << k::PythonTuple(value.shape()) << "  " << k::ComputeStatistics(value) << "\n";
}

void DrawValues(const k::Model& model, const Picture& picture) {
  const k::Model extractor(model.inputs(), k::OutputsOf(model.layers()));
  const std::vector<k::Tensor> values = extractor.Predict(picture.input);
  for (size_t i = 0; i < values.size(); ++i) Draw(model.layer(static_cast<int>(i)).name(), values[i], picture);
}

// Gradients are taps of one evaluation of the loss; the model's weights stay as they are.
void DrawGradients(const k::Model& model, const Picture& picture) {
  int32_t label = absl::GetFlag(FLAGS_label) >= 0 ? absl::GetFlag(FLAGS_label) : picture.label;
  if (label < 0) {
    const k::Tensor scores = model.PredictOne(picture.input);
    label = static_cast<int32_t>(std::max_element(scores.data<float>().begin(), scores.data<float>().end()) - scores.data<float>().begin());
    std::cout << "no label given: taking the predicted class " << label << "\n";
  }
  if (absl::GetFlag(FLAGS_label) >= 0) k::examples::ExitIfOutside("label", label, model.outputs()[0].shape().back(), "classes");
  model.Compile({.optimizer = "sgd", .loss = "sparse_categorical_crossentropy"});
  // The loss is computed from what goes into the last activation, so that is where its gradient begins.
  std::vector<std::string> values;
  for (const k::Layer& layer : model.layers()) values.push_back(layer.name());
  values.back() += "/pre_activation";
  std::vector<k::TapHandle> taps;
  for (const std::string& value : values) taps.push_back(model.Tap(value, {.gradient = true}));
  model.Evaluate(picture.input, k::Tensor::Of<int32_t>({1}, {label}), {.batch_size = 1});
  for (size_t i = 0; i < taps.size(); ++i) Draw(model.layer(static_cast<int>(i)).name() + "_gradient", taps[i].value(), picture);
}

}  // namespace

int main(int argc, char** argv) try {
  k::examples::Start(argc, argv, "Draws and dumps what every layer of a model makes of one picture.");
  k::examples::ExitIfError(k::EnsureDirectory(absl::GetFlag(FLAGS_out)));
  const k::Model model = TheModel();
  const Picture picture = ThePicture(model);
  if (absl::GetFlag(FLAGS_gradients)) {
    DrawGradients(model, picture);
  } else {
    DrawValues(model, picture);
  }
} catch (const std::exception& error) {
  return k::examples::Failed(error);
}
