// The classic Keras tutorial on CIFAR-10: data, model, training, summary, the first kernel, every layer's output and
// the feature maps of the convolutions.
#include <algorithm>
#include <iostream>

#include "absl/flags/flag.h"
#include "weir/examples/common.h"
#include "weir/frontend/keras.h"

ABSL_FLAG(std::string, data, "", "folder with CIFAR-10; empty: found, downloaded or, failing that, generated");
ABSL_FLAG(int, epochs, 25, "passes over the training pictures");
ABSL_FLAG(int, batch_size, 32, "pictures a training step");
ABSL_FLAG(std::string, save, "", "folder to save the trained model in");
ABSL_FLAG(std::string, out, ".", "folder for the curves and the feature maps");

namespace k = weir;

int main(int argc, char** argv) try {
  k::examples::Start(argc, argv, "Trains the CIFAR-10 model of the Keras tutorial and draws what its layers see.");
  const std::string out = absl::GetFlag(FLAGS_out), save = absl::GetFlag(FLAGS_save);
  // A wrong path is better known before hours of training than after them.
  if (!save.empty()) k::examples::ExitIfError(k::CheckCanSaveModel(save));
  k::examples::ExitIfError(k::EnsureDirectory(out));
  auto loaded = k::datasets::LoadCifar10OrGenerated({.folder = absl::GetFlag(FLAGS_data)});
  k::examples::ExitIfError(loaded.status());
  k::DatasetPair data = loaded->data;
  if (k::examples::Quick()) data = {data.train.Take(9600), data.test.Take(1000)};
  k::examples::ExitIfError(k::SavePng(data.train.images[7], out + "/picture.png"));

  k::Sequential model({
      k::Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu",
                 .kernel_constraint = k::MaxNorm(3), .input_shape = {32, 32, 3}}),
      k::Dropout(0.3),
      k::Conv2D({.filters = 32, .kernel_size = {3, 3}, .padding = "same", .activation = "relu",
                 .kernel_constraint = k::MaxNorm(3)}),
      k::MaxPooling2D(), k::Flatten(),
      k::Dense({.units = 512, .activation = "relu", .kernel_constraint = k::MaxNorm(3)}), k::Dropout(0.5),
      k::Dense({.units = 10, .activation = "sigmoid"})});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = "sparse_categorical_accuracy"});
  const int asked = absl::GetFlag(FLAGS_epochs), epochs = k::examples::Quick() ? std::min(2, asked) : asked;
  k::examples::SavedAtEnd trained(model, save);  // also if an error ends the training
  k::History history = model.Fit(data.train, {.batch_size = absl::GetFlag(FLAGS_batch_size), .epochs = epochs,
                                              .validation_data = data.test, .scale = 1 / 255.0});
  trained.Save();  // first of all, also if Ctrl-C ended the training
  model.Summary();
  std::cout << model.layer(0).kernel() << "\n";  // name, shape (3, 3, 3, 32), dtype, values

  k::Model extractor(model.inputs(), k::OutputsOf(model.layers()));
  k::Tensor horse = data.train.Slice(7, 8).Scaled(1 / 255.0).image(0);
  std::vector<k::Tensor> features = extractor.Predict(horse);
  for (int i : {0, 2}) {
    k::examples::ExitIfError(k::plot::SaveFeatureMaps(features[i], out + "/" + model.layer(i).name() + ".png",
                                                      {.rows = 4, .columns = 8, .input = horse}));
  }
  // A training that was interrupted in its first epoch has no curves.
  if (!history.epoch.empty()) k::examples::ExitIfError(k::plot::SaveHistory(k::CurvesOf(history), out + "/curves.png"));
  std::cout << "trained on " << data.train.name << "; pictures are in " << out << "/\n";
} catch (const std::exception& error) {
  return k::examples::Failed(error);
}
