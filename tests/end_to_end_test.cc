// The founding program in small: data, training, a feature map by hand, pictures, a saved model, threads.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "weir/frontend/keras.h"

namespace weir {
namespace {

namespace fs = std::filesystem;

// CIFAR-10 if the environment says where it is, else generated pictures.
DatasetPair Pictures(int64_t train, int64_t test) {
  if (std::getenv("WEIR_CIFAR10") == nullptr) return datasets::GeneratedShapes(train, test);
  const auto data = datasets::LoadCifar10();
  EXPECT_TRUE(data.ok()) << data.status().message();
  return {data->train.Take(train), data->test.Take(test)};
}

Sequential SmallModel(Runtime* runtime = nullptr) {
  Sequential model({Conv2D({.filters = 8, .kernel_size = 3, .padding = "same", .activation = "relu",
                            .kernel_constraint = MaxNorm(3), .input_shape = {32, 32, 3}}),
                    Dropout(0.3), MaxPooling2D(), Flatten(), Dense({.units = 10, .activation = "sigmoid"})});
  model.Compile({.optimizer = "adam", .loss = "sparse_categorical_crossentropy", .metrics = "sparse_categorical_accuracy",
                 .runtime = runtime});
  return model;
}

class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / StrCat("weir_end_to_end_", ::getpid())) { fs::create_directories(path_); }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }

 private:
  fs::path path_;
};

TEST(EndToEnd, TrainSaveLoadAndDraw) {
  const DatasetPair data = Pictures(256, 64);
  const Sequential model = SmallModel();
  const History history = model.Fit(data.train, {.epochs = 2, .verbose = 0, .validation_data = data.test, .scale = 1 / 255.0});
  EXPECT_EQ(history["val_loss"].size(), 2u);
  EXPECT_LT(history["loss"][1], history["loss"][0]);

  const Folder folder;
  ASSERT_TRUE(model.Save(folder / "model").ok());
  const auto loaded = LoadModel(folder / "model");
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const Tensor picture = data.train.Slice(7, 8).Scaled(1 / 255.0).image(0);
  EXPECT_TRUE(BitEqual(loaded->PredictOne(picture), model.PredictOne(picture)));

  const Model extractor(model.inputs(), OutputsOf(model.layers()));
  const std::vector<Tensor> features = extractor.Predict(picture);
  ASSERT_EQ(features.size(), 5u);
  EXPECT_TRUE(BitEqual(features[0], features[1])) << "dropout is inactive in an extractor";
  ASSERT_TRUE(plot::SaveFeatureMaps(features[0], folder / "maps.png", {.rows = 2, .columns = 4, .save_values = true}).ok());
  const auto values = LoadNpy(folder / "maps.npy");
  ASSERT_TRUE(values.ok()) << values.status().message();
  EXPECT_EQ(values->size(), features[0].size());
  ASSERT_TRUE(plot::SaveHistory(CurvesOf(history), folder / "curves.png").ok());
  EXPECT_TRUE(LoadImage(folder / "curves.png").ok());
}

// Map n is the sum over channels c of channel c under kernel[:, :, c, n]; in the canonical order, the very same bits.
TEST(EndToEnd, AFeatureMapByHandHasTheBitsOfTheTap) {
  const DatasetPair data = Pictures(64, 10);
  const Sequential model = SmallModel();
  model.Fit(data.train, {.epochs = 1, .verbose = 0, .scale = 1 / 255.0});
  const Tensor picture = data.train.Slice(7, 8).Scaled(1 / 255.0).image(0);
  const TapHandle tap = model.Tap("conv2d/pre_activation");
  model.Predict(picture);
  const Tensor kernel = model.layer(0).kernel().value(), bias = model.layer(0).bias().value();
  for (int64_t n = 0; n < 8; ++n) {
    for (int64_t row = 0; row < 32; ++row) {
      for (int64_t column = 0; column < 32; ++column) {
        float sum = 0;
        for (int64_t i = 0; i < 3; ++i) {
          for (int64_t j = 0; j < 3; ++j) {
            for (int64_t c = 0; c < 3; ++c) {
              const int64_t y = row + i - 1, x = column + j - 1;
              const bool inside = y >= 0 && y < 32 && x >= 0 && x < 32;
              sum = std::fma(inside ? picture.at<float>({0, y, x, c}) : 0.0f, kernel.at<float>({i, j, c, n}), sum);
            }
          }
        }
        ASSERT_EQ(sum + bias.at<float>({n}), tap.value().at<float>({0, row, column, n}))
            << "map " << n << ", row " << row << ", column " << column;
      }
    }
  }
}

TEST(EndToEnd, OneThreadMeansNoOther) {
  const auto count = [] { return std::distance(fs::directory_iterator("/proc/self/task"), fs::directory_iterator()); };
  auto runtime = MakeRuntime({.threads = 1});
  ASSERT_TRUE(runtime.ok());
  const DatasetPair data = datasets::GeneratedShapes(128, 32);
  const auto before = count();
  const Sequential model = SmallModel(runtime->get());
  int64_t batches = 0;
  model.Fit(data.train, {.verbose = 0, .callbacks = {LambdaCallback({.on_batch_end = [&](FitContext&, int64_t, const Logs&) {
                           ++batches;
                           EXPECT_EQ(count(), before);
                         }})},
                         .validation_data = data.test,
                         .scale = 1 / 255.0});
  EXPECT_EQ(batches, 4);
}

}  // namespace
}  // namespace weir
