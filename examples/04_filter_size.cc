// What a convolution's window does: one feature map by hand, small and large windows, two small ones against one
// large, 1x1 windows that mix channels, and a window that moves along three axes.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/flag.h"
#include "weir/examples/common.h"
#include "weir/frontend/keras.h"

ABSL_FLAG(int, index, 7, "which training picture to look at");
ABSL_FLAG(std::string, out, "filter_size", "folder for the pictures");

namespace {

namespace k = weir;

// A filter [size, size, 3, 3] that applies `weights` (size * size of them) to each colour by itself.
k::Tensor PerColour(int64_t size, const std::vector<float>& weights) {
  k::Tensor filter(k::DType::kFloat32, {size, size, 3, 3});
  for (int64_t tap = 0; tap < size * size; ++tap) {
    for (int64_t c = 0; c < 3; ++c) filter.data<float>()[static_cast<size_t>((tap * 3 + c) * 3 + c)] = weights[static_cast<size_t>(tap)];
  }
  return filter;
}

k::Tensor Convolve(const k::Tensor& image, const k::Tensor& filter) {
  const auto graph = k::Graph::Create();
  return k::Evaluate(k::Conv2D(graph->Data(image), graph->Data(filter), {.padding = "same"}));
}

std::string Path(const std::string& name) { return absl::GetFlag(FLAGS_out) + "/" + name; }

// Feature map n is the sum over channels c of channel c under the kernel's slice [:, :, c, n].
void OneMapByHand(const k::Tensor& image) {
  k::Sequential model({k::Conv2D({.filters = 32, .kernel_size = 3, .padding = "same", .input_shape = {32, 32, 3}})});
  const k::Tensor maps = model.PredictOne(image)[0];
  const k::Tensor kernel = model.layer(0).kernel().value(), bias = model.layer(0).bias().value();
  const int64_t n = 5;
  float largest_difference = 0;
  for (int64_t row = 0; row < 32; ++row) {
    for (int64_t column = 0; column < 32; ++column) {
      float sum = 0;
      for (int64_t i = 0; i < 3; ++i) {
        for (int64_t j = 0; j < 3; ++j) {
          for (int64_t c = 0; c < 3; ++c) {
            const int64_t y = row + i - 1, x = column + j - 1;
            const bool inside = y >= 0 && y < 32 && x >= 0 && x < 32;
            sum = std::fma(inside ? image.at<float>({0, y, x, c}) : 0.0f, kernel.at<float>({i, j, c, n}), sum);
          }
        }
      }
      sum += bias.at<float>({n});
      largest_difference = std::max(largest_difference, std::abs(sum - maps.at<float>({row, column, n})));
    }
  }
  std::printf("1. map %lld by hand differs from the layer's by %g\n", static_cast<long long>(n), static_cast<double>(largest_difference));
}

// A small window keeps detail, a large one blurs it; one with weights of both signs finds edges.
void SmallAndLarge(const k::Tensor& image) {
  std::vector<k::Tensor> pictures{image};
  for (int64_t size : {3, 5, 9, 15}) {
    const auto count = static_cast<size_t>(size * size);
    pictures.push_back(Convolve(image, PerColour(size, std::vector<float>(count, 1.0f / static_cast<float>(count)))));
    k::examples::ExitIfError(k::plot::SaveImage(pictures.back()[0], Path("blur_" + std::to_string(size) + ".png"), 8));
  }
  k::Tensor edges = Convolve(image, PerColour(3, {-1, -1, -1, -1, 8, -1, -1, -1, -1}));
  k::examples::ExitIfError(k::plot::SaveFeatureMaps(edges, Path("edges.png"), {.rows = 1, .columns = 3, .title = "edges in red, green and blue"}));
  const auto roughness = [](const k::Tensor& picture) {
    double sum = 0;
    for (int64_t x = 1; x < 32; ++x) sum += std::abs(picture.at<float>({0, 16, x, 1}) - picture.at<float>({0, 16, x - 1, 1}));
    return sum / 31;
  };
  std::printf("2. mean step between neighbours: picture %.3f, averaged over 3x3 %.3f, 5x5 %.3f, 9x9 %.3f, 15x15 %.3f\n",
              roughness(pictures[0]), roughness(pictures[1]), roughness(pictures[2]), roughness(pictures[3]), roughness(pictures[4]));
}

// Two 3x3 windows on top of each other see as far as one of 5x5, with fewer weights and one more nonlinearity.
void TwoSmallAgainstOneLarge(const k::Tensor& image) {
  const std::vector<float> small{1 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 4 / 16.f, 2 / 16.f, 1 / 16.f, 2 / 16.f, 1 / 16.f};
  std::vector<float> large;
  for (float row : {1.f, 4.f, 6.f, 4.f, 1.f}) {
    for (float column : {1.f, 4.f, 6.f, 4.f, 1.f}) large.push_back(row * column / 256);
  }
  const k::Tensor twice = Convolve(Convolve(image, PerColour(3, small)), PerColour(3, small));
  const k::Tensor once = Convolve(image, PerColour(5, large));
  k::Sequential stacked({k::Conv2D({.filters = 32, .kernel_size = 3, .padding = "same", .input_shape = {32, 32, 32}}),
                         k::Conv2D({.filters = 32, .kernel_size = 3, .padding = "same"})});
  k::Sequential single({k::Conv2D({.filters = 32, .kernel_size = 5, .padding = "same", .input_shape = {32, 32, 32}})});
  std::printf("3. two 3x3 against one 5x5: centre pixel %.6f and %.6f; weights on 32 channels %lld and %lld\n",
              static_cast<double>(twice.at<float>({0, 16, 16, 0})), static_cast<double>(once.at<float>({0, 16, 16, 0})),
              static_cast<long long>(stacked.count_params()), static_cast<long long>(single.count_params()));
}

// A 1x1 window looks at one pixel and mixes its channels: colour to grey, and colour to other colours.
void MixChannels(const k::Tensor& image) {
  const k::Tensor grey = Convolve(image, k::Tensor::Of<float>({1, 1, 3, 1}, {0.299f, 0.587f, 0.114f}));
  const k::Tensor sepia = Convolve(image, k::Tensor::Of<float>({1, 1, 3, 3}, {0.393f, 0.349f, 0.272f, 0.769f, 0.686f, 0.534f, 0.189f, 0.168f, 0.131f}));
  k::examples::ExitIfError(k::plot::SaveImage(grey[0], Path("grey.png"), 8));
  k::examples::ExitIfError(k::plot::SaveImage(sepia[0], Path("sepia.png"), 8));
  std::printf("4. a 1x1 convolution makes %s of %s\n", k::PythonTuple(grey.shape()).c_str(), k::PythonTuple(image.shape()).c_str());
}

// Conv2D's window covers all channels and moves along two axes; Conv3D's moves along a third, such as time.
void TwoAndThreeAxes() {
  k::Sequential flat({k::Conv2D({.filters = 8, .kernel_size = 3, .input_shape = {32, 32, 3}})});
  k::Sequential deep({k::Conv3D({.filters = 8, .kernel_size = 3, .input_shape = {10, 32, 32, 3}})});
  std::cout << "5. the same window over a picture and over ten frames\n";
  flat.Summary();
  deep.Summary();
}

}  // namespace

int main(int argc, char** argv) try {
  k::examples::Start(argc, argv, "Shows what the size and shape of a convolution's window do, in numbers and pictures.");
  k::examples::ExitIfError(k::EnsureDirectory(absl::GetFlag(FLAGS_out)));
  const auto data = k::datasets::LoadCifar10OrGenerated();
  k::examples::ExitIfError(data.status());
  k::examples::ExitIfOutside("index", absl::GetFlag(FLAGS_index), data->data.train.size(), "training pictures");
  const k::Tensor image = data->data.train.Slice(absl::GetFlag(FLAGS_index), absl::GetFlag(FLAGS_index) + 1).Scaled(1 / 255.0).image(0);
  k::examples::ExitIfError(k::plot::SaveImage(image[0], Path("picture.png"), 8));
  OneMapByHand(image);
  SmallAndLarge(image);
  TwoSmallAgainstOneLarge(image);
  MixChannels(image);
  TwoAndThreeAxes();
  std::cout << "pictures are in " << absl::GetFlag(FLAGS_out) << "/\n";
} catch (const std::exception& error) {
  return k::examples::Failed(error);
}
