// Files: atomic writing, .npy and .safetensors, whole, cut and hostile.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <thread>

#include "fault.h"
#include "temp_folder.h"
#include "weir/frontend/io/file.h"
#include "weir/frontend/io/npy.h"
#include "weir/frontend/io/safetensors.h"

namespace weir {
namespace {

namespace fs = std::filesystem;
using absl::StatusCode;

class IoTest : public testing::Test {
 protected:
  std::string Path(const std::string& name) const { return (folder_ / name).string(); }
  std::string Write(const std::string& name, const std::string& contents) const {
    EXPECT_TRUE(WriteFileAtomically(Path(name), contents).ok());
    return Path(name);
  }
  size_t FileCount() const { return static_cast<size_t>(std::distance(fs::directory_iterator(folder_), {})); }

  const TempFolder temp_;
  const fs::path folder_ = temp_.path();
};

// While it lives, no file of this process grows beyond `bytes`: a full disk without one.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    old_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_);
    ::signal(SIGXFSZ, old_handler_);
  }

 private:
  rlimit old_{};
  void (*old_handler_)(int);
};

using FileTest = IoTest;

TEST_F(FileTest, WritesPartsAndReadsThemBack) {
  const std::string_view parts[] = {"ab", "", std::string_view("c\0d", 3)};
  ASSERT_TRUE(WriteFileAtomically(Path("x"), parts).ok());
  EXPECT_EQ(*ReadFile(Path("x")), std::string("abc\0d", 5));
  ASSERT_TRUE(WriteFileAtomically(Path("x"), "new").ok());
  EXPECT_EQ(*ReadFile(Path("x")), "new");
  EXPECT_EQ(FileCount(), 1u);
}

TEST_F(FileTest, WritesLargeContentsWhole) {
  std::string large(5'000'001, 'x');
  for (size_t i = 0; i < large.size(); i += 97) large[i] = static_cast<char>(i);
  EXPECT_EQ(*ReadFile(Write("large", large)), large);
}

TEST_F(FileTest, FullDiskIsAnErrorAndKeepsTheOldFile) {
  Write("x", "old");
  {
    const FileSizeLimit limit(1000);
    EXPECT_FAULT(WriteFileAtomically(Path("x"), std::string(5000, 'n')), StatusCode::kResourceExhausted, Path("x"));
  }
  EXPECT_EQ(*ReadFile(Path("x")), "old");
  EXPECT_EQ(FileCount(), 1u) << "the temporary file is left behind";
}

TEST_F(FileTest, DeviceFullIsAnErrorAndStaysADevice) {
  if (!fs::exists("/dev/full")) return;
  EXPECT_FAULT(WriteFileAtomically("/dev/full", "x"), StatusCode::kResourceExhausted, "No space left on device");
  EXPECT_FAULT(SaveNpy(Tensor::Scalar(1.0f), "/dev/full"), StatusCode::kResourceExhausted, "/dev/full");
  EXPECT_FAULT(SaveSafetensors({{"a", Tensor::Scalar(1.0f)}}, {}, "/dev/full"), StatusCode::kResourceExhausted,
               "/dev/full");
  EXPECT_TRUE(fs::is_character_file("/dev/full"));
}

TEST_F(FileTest, FaultsNamePathAndReason) {
  EXPECT_FAULT(WriteFileAtomically(Path("no/such/x"), "a"), StatusCode::kNotFound, Path("no/such/x"));
  EXPECT_FAULT(WriteFileAtomically(folder_.string(), "a"), StatusCode::kFailedPrecondition, "directory");
  EXPECT_FAULT(ReadFile(Path("absent")).status(), StatusCode::kNotFound, "No such file or directory");
  EXPECT_FAULT(ReadFile(folder_.string()).status(), StatusCode::kFailedPrecondition, "is a folder");
  Write("x", "12345");
  EXPECT_FAULT(ReadFile(Path("x"), 4).status(), StatusCode::kResourceExhausted, "has 5 bytes, at most 4");
  EXPECT_TRUE(ReadFile(Path("x"), 5).ok());
}

TEST_F(FileTest, KeepsModeAndSymbolicLink) {
  Write("target", "old");
  fs::permissions(Path("target"), fs::perms::owner_read | fs::perms::owner_write);
  fs::create_symlink("target", Path("link"));
  ASSERT_TRUE(WriteFileAtomically(Path("link"), "new").ok());
  EXPECT_TRUE(fs::is_symlink(Path("link")));
  EXPECT_EQ(*ReadFile(Path("target")), "new");
  EXPECT_EQ(fs::status(Path("target")).permissions(), fs::perms::owner_read | fs::perms::owner_write);
}

TEST_F(FileTest, ReadAtChecksTheEnd) {
  const absl::StatusOr<InputFile> file = InputFile::Open(Write("x", "abcdef"));
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->size(), 6);
  std::byte bytes[4];
  ASSERT_TRUE(file->ReadAt(2, bytes).ok());
  EXPECT_EQ(std::memcmp(bytes, "cdef", 4), 0);
  EXPECT_FAULT(file->ReadAt(3, bytes), StatusCode::kDataLoss, "ends after 6 bytes, expected 7");
}

TEST_F(FileTest, EnsureDirectoryMakesParentsAndRefusesFiles) {
  EXPECT_TRUE(EnsureDirectory(Path("a/b/c")).ok());
  EXPECT_TRUE(EnsureDirectory(Path("a/b/c")).ok());
  EXPECT_TRUE(fs::is_directory(Path("a/b/c")));
  Write("file", "");
  EXPECT_FALSE(EnsureDirectory(Path("file")).ok());
  EXPECT_FALSE(EnsureDirectory(Path("file/below")).ok());
}

TEST_F(FileTest, KilledWriterLeavesAWholeFile) {
  const std::string path = Path("x.npy");
  ASSERT_TRUE(SaveNpy(Tensor::Full(DType::kFloat32, {1 << 19}, 0), path).ok());
  for (int round = 0; round < 4; ++round) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      for (int i = 0;; ++i) {
        if (!SaveNpy(Tensor::Full(DType::kFloat32, {1 << 19}, i), path).ok()) ::_exit(1);
      }
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(30 + 7 * round));
    ::kill(child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status));
    const absl::StatusOr<Tensor> tensor = LoadNpy(path);
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    const std::span<const float> values = tensor->data<float>();
    for (const float value : values) ASSERT_EQ(value, values[0]);
  }
}

using NpyTest = IoTest;

std::string NpyHeader(const std::string& dictionary, int version = 1) {
  std::string text = dictionary + "\n";
  std::string start = std::string("\x93NUMPY", 6) + static_cast<char>(version) + '\0';
  const size_t size = text.size();
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i) start += static_cast<char>(size >> (8 * i) & 255);
  return start + text;
}

template <class T>
std::string Bytes(std::initializer_list<T> values) {
  return {reinterpret_cast<const char*>(values.begin()), values.size() * sizeof(T)};
}

TEST_F(NpyTest, WritesTheBytesOfNumPy) {
  ASSERT_TRUE(SaveNpy(Tensor::Of<float>({2}, {1.5f, -2.0f}), Path("x.npy")).ok());
  std::string expected =
      std::string("\x93NUMPY\x01\x00v\x00", 10) + "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }";
  expected.append(127 - expected.size(), ' ');
  expected += "\n" + Bytes<float>({1.5f, -2.0f});
  EXPECT_EQ(*ReadFile(Path("x.npy")), expected);
}

TEST_F(NpyTest, RoundTripsEveryTypeAndShape) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor tensors[] = {Tensor::Of<float>({2, 2}, {nan, -0.0f, 1e-42f, INFINITY}),
                            Tensor::Of<double>({1, 3}, {1e300, -1, 0.1}),
                            Tensor::Of<int32_t>({2}, {INT32_MIN, 7}),
                            Tensor::Of<int64_t>({1, 1, 1, 2}, {INT64_MIN, INT64_MAX}),
                            Tensor::Of<uint8_t>({3}, {0, 128, 255}),
                            Tensor::Of<bool>({2}, {true, false}),
                            Tensor::Scalar(3.5f),
                            Tensor(DType::kFloat32, {0, 5}),
                            Tensor(DType::kFloat32, {7, 0, 3})};
  for (const Tensor& tensor : tensors) {
    ASSERT_TRUE(SaveNpy(tensor, Path("x.npy")).ok());
    const absl::StatusOr<Tensor> loaded = LoadNpy(Path("x.npy"));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(BitEqual(*loaded, tensor)) << tensor;
  }
}

TEST_F(NpyTest, ReadsEveryVersionAndOrderOfKeys) {
  for (const int version : {1, 2, 3}) {
    Write("x.npy", NpyHeader("{\"shape\":(2,3),'fortran_order':False,'descr':'<i4'}", version) +
                       Bytes<int32_t>({1, 2, 3, 4, 5, 6}));
    const absl::StatusOr<Tensor> loaded = LoadNpy(Path("x.npy"));
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    EXPECT_TRUE(BitEqual(*loaded, Tensor::Of<int32_t>({2, 3}, {1, 2, 3, 4, 5, 6})));
  }
}

TEST_F(NpyTest, ConvertsFortranOrder) {
  // Element (i, j, k) of shape (2, 3, 2) lies at i + 2 j + 6 k.
  std::string data;
  for (int32_t i = 0; i < 12; ++i) data += Bytes<int32_t>({i});
  Write("x.npy", NpyHeader("{'descr': '<i4', 'fortran_order': True, 'shape': (2, 3, 2), }") + data);
  const absl::StatusOr<Tensor> loaded = LoadNpy(Path("x.npy"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t j = 0; j < 3; ++j) {
      for (int64_t k = 0; k < 2; ++k) EXPECT_EQ(loaded->at<int32_t>({i, j, k}), i + 2 * j + 6 * k);
    }
  }
}

TEST_F(NpyTest, EveryCutIsAnError) {
  ASSERT_TRUE(SaveNpy(Tensor::Of<float>({2, 3}, {1, 2, 3, 4, 5, 6}), Path("x.npy")).ok());
  const std::string whole = *ReadFile(Path("x.npy"));
  for (size_t size = 0; size < whole.size(); ++size) {
    Write("cut.npy", whole.substr(0, size));
    const absl::Status status = LoadNpy(Path("cut.npy")).status();
    ASSERT_EQ(status.code(), StatusCode::kDataLoss) << size << ": " << status;
    EXPECT_TRUE(Contains(status, "expected")) << status;
    EXPECT_TRUE(Contains(status, Path("cut.npy"))) << status;
  }
  Write("cut.npy", whole.substr(0, whole.size() - 5));
  EXPECT_FAULT(LoadNpy(Path("cut.npy")).status(), StatusCode::kDataLoss,
               "has 19 bytes of elements, expected 24 for '<f4' (2, 3)");
  Write("long.npy", whole + "x");
  EXPECT_FAULT(LoadNpy(Path("long.npy")).status(), StatusCode::kDataLoss, "has 25 bytes of elements, expected 24");
}

TEST_F(NpyTest, HostileSizesAreRefusedBeforeAllocation) {
  Write("x", std::string("\x93NUMPY\x02\x00\xf0\xff\xff\xff", 12));
  EXPECT_FAULT(LoadNpy(Path("x")).status(), StatusCode::kDataLoss, "has 12 bytes, expected 4294967292");
  const auto fault = [&](const std::string& shape, const std::string& data) {
    Write("x", NpyHeader("{'descr': '<f4', 'fortran_order': False, 'shape': " + shape + ", }") + data);
    return LoadNpy(Path("x")).status();
  };
  EXPECT_FAULT(fault("(4194305, 4194305, 211106198978564)", std::string(16, 'x')), StatusCode::kOutOfRange, "63 bits");
  EXPECT_FAULT(fault("(4294967296, 4294967296)", ""), StatusCode::kOutOfRange, "63 bits");
  EXPECT_FAULT(fault("(4294967296, 4294967296, 0)", ""), StatusCode::kOutOfRange, "63 bits");
  EXPECT_FAULT(fault("(1099511627776,)", "1234"), StatusCode::kDataLoss, "expected 4398046511104");
  EXPECT_FAULT(fault("(99999999999999999999,)", ""), StatusCode::kOutOfRange, "does not fit");
  EXPECT_FAULT(fault("(-1,)", ""), StatusCode::kInvalidArgument, "negative");
  std::string many;
  for (int i = 0; i < 65; ++i) many += "1, ";
  EXPECT_FAULT(fault("(" + many + ")", "1234"), StatusCode::kInvalidArgument, "more than 64 dimensions");
  many.resize(64 * 3);
  EXPECT_TRUE(fault("(" + many + ")", "1234").ok());
}

TEST_F(NpyTest, MalformedHeadersAreRefused) {
  const auto fault = [&](const std::string& dictionary) {
    Write("x", NpyHeader(dictionary) + Bytes<float>({1}));
    return LoadNpy(Path("x")).status();
  };
  const std::string rest = ", 'fortran_order': False, 'shape': (1,), }";
  EXPECT_TRUE(fault("{'descr': '<f4'" + rest).ok());
  EXPECT_FAULT(fault("{'descr': '|O'" + rest), StatusCode::kUnimplemented, "objects");
  EXPECT_FAULT(fault("{'descr': '<c16'" + rest), StatusCode::kUnimplemented, "'<c16' is not supported; known, in both byte orders: b1, u1, i4");
  EXPECT_FAULT(fault("{'descr': '|f4'" + rest), StatusCode::kUnimplemented, "'|f4'");
  EXPECT_FAULT(fault("{'descr': ''" + rest), StatusCode::kUnimplemented, "''");
  EXPECT_FAULT(fault("{'descr': '<'" + rest), StatusCode::kUnimplemented, "'<'");
  EXPECT_FAULT(fault("{'descr': [('a', '<f4')]" + rest), StatusCode::kUnimplemented, "structured");
  EXPECT_FAULT(fault("{'descr': '<f4', 'descr': '<f4'" + rest), StatusCode::kInvalidArgument, "twice");
  EXPECT_FAULT(fault("{'descr': '<f4', 'x': 1" + rest), StatusCode::kInvalidArgument, "unknown key 'x'");
  EXPECT_FAULT(fault("{'descr': '<f4'}"), StatusCode::kInvalidArgument, "lacks");
  EXPECT_FAULT(fault("{'descr': '<f4"), StatusCode::kInvalidArgument, "in quotes");
  EXPECT_FAULT(fault("{'descr': '<f4'" + rest + "}"), StatusCode::kInvalidArgument, "the end");
  EXPECT_FAULT(fault("{'descr': '<f4', 'fortran_order': Maybe, 'shape': (1,)}"), StatusCode::kInvalidArgument,
               "True or False");
  EXPECT_FAULT(fault("{'descr': '<f4', 'fortran_order': False, 'shape': (1;)}"), StatusCode::kInvalidArgument, "')'");
  EXPECT_FAULT(fault(""), StatusCode::kInvalidArgument, "'{'");
  Write("x", "PK\x03\x04 something else");
  EXPECT_FAULT(LoadNpy(Path("x")).status(), StatusCode::kInvalidArgument, "no .npy file");
  Write("x", NpyHeader("{}", 9));
  EXPECT_FAULT(LoadNpy(Path("x")).status(), StatusCode::kUnimplemented, "version 9");
  Write("x", NpyHeader("{'descr': '|b1'" + rest) + "\x02");
  EXPECT_FAULT(LoadNpy(Path("x")).status(), StatusCode::kDataLoss, "is 2, expected 0 or 1");
}

// Elements of `size` bytes each, reversed.
std::string Swapped(std::string bytes, size_t size) {
  for (size_t i = 0; i < bytes.size(); i += size) std::reverse(bytes.begin() + static_cast<ptrdiff_t>(i), bytes.begin() + static_cast<ptrdiff_t>(i + size));
  return bytes;
}

TEST_F(NpyTest, ReadsBothByteOrdersAndTypesThatWeirHasNot) {
  struct Case {
    std::string code;
    std::string bytes;  // little-endian
    Tensor expected;
  };
  const float infinity = std::numeric_limits<float>::infinity();
  const Case cases[] = {
      {"b1", std::string("\0\1\1", 3), Tensor::Of<bool>({3}, {false, true, true})},
      {"u1", "\x80\x7f", Tensor::Of<uint8_t>({2}, {128, 127})},
      {"i1", "\x80\x7f", Tensor::Of<int32_t>({2}, {-128, 127})},
      {"i2", Bytes<int16_t>({INT16_MIN, -2, INT16_MAX}), Tensor::Of<int32_t>({3}, {-32768, -2, 32767})},
      {"u2", Bytes<uint16_t>({0, 258, UINT16_MAX}), Tensor::Of<int32_t>({3}, {0, 258, 65535})},
      {"i4", Bytes<int32_t>({INT32_MIN, 0x01020304}), Tensor::Of<int32_t>({2}, {INT32_MIN, 0x01020304})},
      {"u4", Bytes<uint32_t>({1, UINT32_MAX}), Tensor::Of<int64_t>({2}, {1, 4294967295})},
      {"i8", Bytes<int64_t>({INT64_MIN, 5}), Tensor::Of<int64_t>({2}, {INT64_MIN, 5})},
      {"u8", Bytes<uint64_t>({7, INT64_MAX}), Tensor::Of<int64_t>({2}, {7, INT64_MAX})},
      {"f4", Bytes<float>({1.5f, -0.0f}), Tensor::Of<float>({2}, {1.5f, -0.0f})},
      {"f8", Bytes<double>({1e300, 0.1}), Tensor::Of<double>({2}, {1e300, 0.1})},
      // 1, -2, the largest, the smallest normal, the smallest and the largest subnormal, zeros, infinities.
      {"f2", Bytes<uint16_t>({0x3c00, 0xc000, 0x7bff, 0x0400, 0x0001, 0x83ff, 0x0000, 0x8000, 0x7c00, 0xfc00, 0x3555}),
       Tensor::Of<float>({11}, {1, -2, 65504, 0x1p-14f, 0x1p-24f, -0x1.ff8p-15f, 0, -0.0f, infinity, -infinity,
                                0x1.554p-2f})}};
  for (const Case& c : cases) {
    const auto size = c.bytes.size() / static_cast<size_t>(c.expected.size());
    for (const std::string order : {"<", ">", "=", "", "|"}) {
      if (order == "|" && size > 1) continue;
      Write("x.npy", NpyHeader(StrCat("{'descr': '", order, c.code, "', 'fortran_order': False, 'shape': ",
                                      PythonTuple(c.expected.shape()), ", }")) +
                         (order == ">" ? Swapped(c.bytes, size) : c.bytes));
      const absl::StatusOr<Tensor> loaded = LoadNpy(Path("x.npy"));
      ASSERT_TRUE(loaded.ok()) << loaded.status();
      EXPECT_TRUE(BitEqual(*loaded, c.expected)) << order << c.code << ": " << *loaded;
    }
  }
  // A half that is not a number stays none.
  Write("x.npy", NpyHeader("{'descr': '<f2', 'fortran_order': False, 'shape': (), }") + Bytes<uint16_t>({0x7e01}));
  EXPECT_TRUE(std::isnan(LoadNpy(Path("x.npy"))->item<float>()));
  Write("x.npy", NpyHeader("{'descr': '>u8', 'fortran_order': False, 'shape': (2,), }") + Swapped(Bytes<uint64_t>({1, uint64_t{1} << 63}), 8));
  EXPECT_FAULT(LoadNpy(Path("x.npy")).status(), StatusCode::kOutOfRange, "element 1 is 9223372036854775808");
}

TEST_F(NpyTest, ConvertsManyElementsAndFortranOrderTogether) {
  // More than are converted at a time, and as columns: element (i, j) of shape (100000, 2) is i + 100000 j mod 2^16.
  std::string bytes;
  for (int i = 0; i < 200'000; ++i) bytes += Bytes<uint16_t>({static_cast<uint16_t>(i)});
  Write("x.npy", NpyHeader("{'descr': '>u2', 'fortran_order': True, 'shape': (100000, 2), }") + Swapped(bytes, 2));
  const absl::StatusOr<Tensor> loaded = LoadNpy(Path("x.npy"));
  ASSERT_TRUE(loaded.ok()) << loaded.status();
  ASSERT_EQ(loaded->type(), (TensorType{DType::kInt32, {100'000, 2}}));
  for (const int i : {0, 1, 32767, 32768, 65535, 65536, 99'999}) {
    EXPECT_EQ(loaded->at<int32_t>({i, 0}), i % 65536);
    EXPECT_EQ(loaded->at<int32_t>({i, 1}), (i + 100'000) % 65536);
  }
}

TEST_F(NpyTest, MisuseThrows) {
  EXPECT_THROW((void)SaveNpy(Tensor(), Path("x")), Error);
  EXPECT_THROW((void)SaveNpy(Tensor(DType::kComplex128, {1}), Path("x")), Error);
}

using SafetensorsTest = IoTest;

std::string WithLength(const std::string& header, const std::string& data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char*>(&size), 8) + header + data;
}

TEST_F(SafetensorsTest, RoundTripsOrderTypesAndMetadata) {
  const NamedTensors tensors = {{"conv2d/kernel:0", Tensor::Of<float>({1, 2}, {1.5f, NAN})},
                                {"flags", Tensor::Of<bool>({3}, {true, false, true})},
                                {"a \"quoted\" \xc3\xa9", Tensor::Of<double>({1}, {0.1})},
                                {"bytes", Tensor::Of<uint8_t>({1}, {255})},
                                {"step", Tensor::Scalar<int64_t>(-1)},
                                {"none", Tensor(DType::kFloat32, {0, 4})},
                                {"i", Tensor::Of<int32_t>({2}, {1, -2})}};
  const std::map<std::string, std::string> metadata = {{"format", "weir"}, {"note", "two\nlines"}};
  ASSERT_TRUE(SaveSafetensors(tensors, metadata, Path("x")).ok());
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(Path("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors.size(), tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    EXPECT_EQ(file->tensors[i].first, tensors[i].first);
    EXPECT_TRUE(BitEqual(file->tensors[i].second, tensors[i].second)) << tensors[i].first;
  }
  EXPECT_EQ(file->metadata, metadata);
  ASSERT_NE(file->Find("step"), nullptr);
  EXPECT_EQ(file->Find("step")->item<int64_t>(), -1);
  EXPECT_EQ(file->Find("absent"), nullptr);
  const auto some = LoadSafetensors(Path("x"), [](const std::string& name) { return name == "i"; });
  ASSERT_TRUE(some.ok()) << some.status();
  ASSERT_EQ(some->tensors.size(), 1u);
  EXPECT_TRUE(BitEqual(some->tensors[0].second, tensors.back().second));
  EXPECT_EQ(some->metadata, metadata);
  // The data begins at a multiple of 8, and each tensor at one of its element size.
  EXPECT_EQ(static_cast<unsigned char>((*ReadFile(Path("x")))[0]) % 8, 0);
}

TEST_F(SafetensorsTest, AnEmptyFileIsPossible) {
  ASSERT_TRUE(SaveSafetensors({}, {}, Path("x")).ok());
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(Path("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(file->tensors.empty());
}

TEST_F(SafetensorsTest, ReadsAForeignFile) {
  // As the format's own writer has it: header padded by blanks, metadata first.
  const std::string header = R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]},)"
                             R"("a":{"dtype":"I32","shape":[],"data_offsets":[0,4]}}   )";
  Write("x", WithLength(header, Bytes<int32_t>({7}) + Bytes<float>({1, 2})));
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(Path("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->tensors[0].first, "b");
  EXPECT_TRUE(BitEqual(*file->Find("b"), Tensor::Of<float>({2}, {1, 2})));
  EXPECT_EQ(file->Find("a")->item<int32_t>(), 7);
  EXPECT_EQ(file->metadata.at("format"), "pt");
}

TEST_F(SafetensorsTest, ReadsTypesThatWeirHasNot) {
  const std::string header = R"({"h":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"BF16","shape":[3],"data_offsets":[4,10]},)"
                             R"("i":{"dtype":"I8","shape":[2],"data_offsets":[10,12]},)"
                             R"("u":{"dtype":"U16","shape":[1],"data_offsets":[12,14]},)"
                             R"("w":{"dtype":"U32","shape":[1],"data_offsets":[14,18]}})";
  Write("x", WithLength(header, Bytes<uint16_t>({0x3c00, 0x0001}) + Bytes<uint16_t>({0x3fc0, 0x8001, 0x7f80}) +
                                    Bytes<int8_t>({-128, 5}) + Bytes<uint16_t>({65535}) + Bytes<uint32_t>({UINT32_MAX})));
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(Path("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE(BitEqual(*file->Find("h"), Tensor::Of<float>({2}, {1, 0x1p-24f})));
  EXPECT_TRUE(BitEqual(*file->Find("b"), Tensor::Of<float>({3}, {1.5f, -0x1p-133f, INFINITY})));
  EXPECT_TRUE(BitEqual(*file->Find("i"), Tensor::Of<int32_t>({2}, {-128, 5})));
  EXPECT_TRUE(BitEqual(*file->Find("u"), Tensor::Of<int32_t>({1}, {65535})));
  EXPECT_TRUE(BitEqual(*file->Find("w"), Tensor::Of<int64_t>({1}, {4294967295})));
}

TEST_F(SafetensorsTest, TensorsThatNobodyAskedForDoNotBlockAFile) {
  const std::string header = R"({"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]},)"
                             R"("b":{"dtype":"F32","shape":[1],"data_offsets":[4,8]},)"
                             R"("c":{"dtype":"SOMETHING","shape":[7],"data_offsets":[8,9]}})";
  Write("x", WithLength(header, "1234" + Bytes<float>({2.5f}) + "x"));
  EXPECT_FAULT(LoadSafetensors(Path("x")).status(), StatusCode::kUnimplemented,
               "tensor 'a': element type F8_E4M3 is not supported; known: BOOL, U8,");
  const auto wanted = [](const std::string& wanted_name) {
    return [wanted_name](const std::string& name) { return name == wanted_name; };
  };
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(Path("x"), wanted("b"));
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_EQ(file->tensors.size(), 1u);
  EXPECT_TRUE(BitEqual(*file->Find("b"), Tensor::Of<float>({1}, {2.5f})));
  EXPECT_FAULT(LoadSafetensors(Path("x"), wanted("c")).status(), StatusCode::kUnimplemented, "SOMETHING");
}

TEST_F(SafetensorsTest, EveryCutIsAnError) {
  ASSERT_TRUE(
      SaveSafetensors({{"w", Tensor::Of<float>({2, 2}, {1, 2, 3, 4})}, {"b", Tensor::Of<uint8_t>({3}, {1, 2, 3})}},
                      {{"k", "v"}}, Path("x"))
          .ok());
  const std::string whole = *ReadFile(Path("x"));
  for (size_t size = 0; size < whole.size(); ++size) {
    Write("cut", whole.substr(0, size));
    const absl::Status status = LoadSafetensors(Path("cut")).status();
    ASSERT_EQ(status.code(), StatusCode::kDataLoss) << size << ": " << status;
    EXPECT_TRUE(Contains(status, "expected")) << status;
    EXPECT_TRUE(Contains(status, Path("cut"))) << status;
  }
  Write("cut", whole.substr(0, whole.size() - 1));
  EXPECT_FAULT(LoadSafetensors(Path("cut")).status(), StatusCode::kDataLoss, "has 18 bytes of data, expected 19");
  Write("long", whole + "x");
  EXPECT_FAULT(LoadSafetensors(Path("long")).status(), StatusCode::kDataLoss, "has 20 bytes of data, expected 19");
}

TEST_F(SafetensorsTest, HostileHeadersAreRefused) {
  const auto fault = [&](const std::string& header, const std::string& data = "12345678") {
    Write("x", WithLength(header, data));
    return LoadSafetensors(Path("x")).status();
  };
  const auto entry = [](const std::string& name, const std::string& dtype, const std::string& shape,
                        const std::string& offsets) {
    return StrCat('"', name, R"(":{"dtype":")", dtype, R"(","shape":)", shape, R"(,"data_offsets":)", offsets, "}");
  };
  EXPECT_TRUE(fault("{" + entry("a", "F32", "[2]", "[0,8]") + "}").ok());
  Write("x", std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10));
  EXPECT_FAULT(LoadSafetensors(Path("x")).status(), StatusCode::kDataLoss, "has 2 bytes after");

  for (const char* open : {"[", "{\"a\":"}) {
    std::string deep = "{\"a\":";
    for (int i = 0; i < 100'000; ++i) deep += open;
    EXPECT_FAULT(fault(deep), StatusCode::kInvalidArgument, "nests deeper than 64");
  }
  EXPECT_TRUE(fault("{\"__metadata__\":{\"k\":\"" + std::string(200, '[') + "\\\"[\"}," +
                    entry("a", "F32", "[2]", "[0,8]") + "}")
                  .ok())
      << "brackets in strings are no nesting";

  const std::string a = entry("a", "F32", "[1]", "[0,4]");
  EXPECT_FAULT(fault("{" + a + "," + entry("a", "F32", "[1]", "[4,8]") + "}"), StatusCode::kInvalidArgument,
               "'a' twice");
  EXPECT_FAULT(fault(R"({"a":{"dtype":"F32","shape":[2],"shape":[2],"data_offsets":[0,8]}})"),
               StatusCode::kInvalidArgument, "'shape' twice");
  EXPECT_FAULT(fault("{" + a + "," + entry("b", "F32", "[1]", "[3,7]") + "}"), StatusCode::kInvalidArgument, "overlap");
  EXPECT_FAULT(fault("{" + a + "," + entry("b", "U8", "[3]", "[5,8]") + "}"), StatusCode::kInvalidArgument, "gap");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[1]", "[4,8]") + "}"), StatusCode::kInvalidArgument, "gap");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[2]", "[8,0]") + "}"), StatusCode::kInvalidArgument, "begin <= end");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[2]", "[0,8,8]") + "}"), StatusCode::kInvalidArgument, "[begin, end]");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[3]", "[0,8]") + "}"), StatusCode::kInvalidArgument, "takes 12 bytes");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[250000000000]", "[0,1000000000000]") + "}"), StatusCode::kDataLoss,
               "expected 1000000000000");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[4194305,4194305,211106198978564]", "[0,16]") + "}"),
               StatusCode::kOutOfRange, "63 bits");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[4294967296,4294967296]", "[0,0]") + "}"), StatusCode::kOutOfRange,
               "63 bits");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[18446744073709551615]", "[0,8]") + "}"), StatusCode::kInvalidArgument,
               "63 bits");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[99999999999999999999999]", "[0,8]") + "}"), StatusCode::kInvalidArgument,
               "63 bits");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[-2]", "[0,8]") + "}"), StatusCode::kInvalidArgument, "-2");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[2.0]", "[0,8]") + "}"), StatusCode::kInvalidArgument, "2.0");
  EXPECT_FAULT(fault("{" + entry("a", "F32", "\"2\"", "[0,8]") + "}"), StatusCode::kInvalidArgument,
               "'shape' is no list");
  EXPECT_FAULT(fault("{" + entry("a", "F8_E5M2", "[8]", "[0,8]") + "}"), StatusCode::kUnimplemented, "F8_E5M2");
  EXPECT_FAULT(fault("{" + entry("a", "BF16", "[8]", "[0,8]") + "}"), StatusCode::kInvalidArgument, "takes 16 bytes");
  EXPECT_FAULT(fault("{" + entry("a", "U64", "[1]", "[0,8]") + "}", std::string(8, '\xff')), StatusCode::kOutOfRange, "tensor 'a': element 0 is 18446744073709551615");
  // Padding is blanks, as the format's own reader insists.
  EXPECT_TRUE(fault("{" + entry("a", "F32", "[2]", "[0,8]") + "}   ").ok());
  EXPECT_FAULT(fault("{" + entry("a", "F32", "[2]", "[0,8]") + "}" + std::string(3, '\0')), StatusCode::kInvalidArgument, "header has a NUL at byte 54 of 57");
  EXPECT_FAULT(fault("{" + entry("a", "BOOL", "[8]", "[0,8]") + "}"), StatusCode::kDataLoss, "expected 0 or 1");
  EXPECT_FAULT(fault(R"({"a":3})"), StatusCode::kInvalidArgument, "no object");
  EXPECT_FAULT(fault(R"({"a":{}})"), StatusCode::kInvalidArgument, "'dtype'");
  EXPECT_FAULT(fault(R"({"__metadata__":{"k":1}})"), StatusCode::kInvalidArgument, "no string");
  EXPECT_FAULT(fault("{\"a"), StatusCode::kInvalidArgument, "no JSON");
  EXPECT_FAULT(fault("[]"), StatusCode::kInvalidArgument, "'{'");
  EXPECT_FAULT(fault("{\"\xff\":1}"), StatusCode::kInvalidArgument, "no JSON");
  EXPECT_FAULT(fault(""), StatusCode::kInvalidArgument, "'{'");
}

TEST_F(SafetensorsTest, MisuseThrows) {
  const Tensor one = Tensor::Scalar(1.0f);
  EXPECT_THROW((void)SaveSafetensors({{"a", one}, {"a", one}}, {}, Path("x")), Error);
  EXPECT_THROW((void)SaveSafetensors({{"__metadata__", one}}, {}, Path("x")), Error);
  EXPECT_THROW((void)SaveSafetensors({{"a", Tensor()}}, {}, Path("x")), Error);
  EXPECT_THROW((void)SaveSafetensors({{"a", Tensor(DType::kComplex128, {1})}}, {}, Path("x")), Error);
  EXPECT_THROW((void)SaveSafetensors({{"\xff", one}}, {}, Path("x")), Error);
  EXPECT_FALSE(fs::exists(Path("x")));
}

TEST_F(SafetensorsTest, FullDiskKeepsTheOldFile) {
  ASSERT_TRUE(SaveSafetensors({{"a", Tensor::Scalar(1.0f)}}, {}, Path("x")).ok());
  {
    const FileSizeLimit limit(10'000);
    EXPECT_EQ(SaveSafetensors({{"a", Tensor(DType::kFloat32, {100'000})}}, {}, Path("x")).code(),
              StatusCode::kResourceExhausted);
  }
  const absl::StatusOr<SafetensorsFile> file = LoadSafetensors(Path("x"));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->Find("a")->item<float>(), 1.0f);
}

}  // namespace
}  // namespace weir
