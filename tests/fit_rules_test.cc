// Fit and its callbacks against the written model of Keras's rules, on seeded random trainings: every set of callbacks,
// in one Fit and in several, stopped in every way and resumed.
#include <signal.h>

#include <limits>
#include <random>

#include "frontend_test_util.h"
#include "keras_rules.h"

namespace weir {
namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

// A random training, in weir's words and in those of the model.
struct Case {
  explicit Case(uint32_t seed) : random(seed) {
    const uint32_t set = seed % 32;
    keras_rules::Problem& p = problem;
    const int64_t n = Pick({4, 6, 8, 10}), validation = Pick({0, 1, 2});
    p.batch_size = Pick({2, 3, 4});
    p.validation_freq = Pick({1, 1, 2, 3});
    p.use_ema = Flip();
    p.ema_overwrite_frequency = Flip() ? 0 : Pick({2, 3, 5});
    epochs = Pick({1, 2, 4, 6, 8});
    const bool sample_weights = Flip(), class_weights = Flip();
    if (class_weights) class_weight = {{-10000, 0.5}, {-10001, 2}};
    const int64_t total = validation == 1 ? 2 * n : n;
    if (validation == 1) split = 0.5;
    for (int64_t i = 0; i < total; ++i) {
      x.push_back(Pick({1, 2}));
      y.push_back(Pick({-10000, -10001}));
      weights.push_back(sample_weights ? static_cast<double>(Pick({0, 1, 2, 3})) / 2 : 1);
    }
    for (int64_t i = 0; i < n; ++i) {
      const auto k = static_cast<size_t>(i);
      p.weights.push_back(weights[k] * (class_weights ? class_weight.at(static_cast<int64_t>(y[k])) : 1));
    }
    p.x.assign(x.begin(), x.begin() + n);
    p.y.assign(y.begin(), y.begin() + n);
    p.val_x.assign(x.begin() + n, x.end());
    p.val_y.assign(y.begin() + n, y.end());
    p.val_weights.assign(weights.begin() + n, weights.end());
    if (validation == 2) {
      p.val_x = {1, 2, 1};
      p.val_y = {-10000, -10001, -10001};
      p.val_weights = {1, 1, 1};
    }
    weighted = sample_weights;
    monitor = validation == 0 ? "loss" : "val_loss";
    for (int i = 0; i < 40; ++i) {
      dictated.push_back(Flip(8) ? (Flip() ? kNaN : INFINITY * (Flip() ? 1 : -1)) : static_cast<double>(Pick({1, 2, 3, 4, 5})));
    }
    p.dictated = [this](int64_t epoch) { return dictated.at(static_cast<size_t>(epoch)); };
    has_early = set & 1;
    has_plateau = set & 2;
    has_checkpoint = set & 4;
    if (set & 8) {
      // One rate depends on that of the epoch before, one on the epoch alone.
      if (Flip()) {
        p.schedule = [](int64_t epoch, double rate) { return epoch % 2 == 1 ? rate / 2 : rate; };
      } else {
        p.schedule = [](int64_t epoch, double) { return 1.0 / static_cast<double>(int64_t{1} << (epoch % 4)); };
      }
    }
    has_log = set & 16;
    mode = std::vector<std::string>{"auto", "min", "max"}[static_cast<size_t>(Pick({0, 1, 2}))];
    early = {.monitor = monitor,
             .min_delta = Flip() ? 0 : 1.0,
             .patience = Pick({0, 1, 2, 3}),
             .mode = mode,
             .restore_best_weights = Flip(),
             .start_from_epoch = Pick({0, 0, 2})};
    if (Flip(3)) early.baseline = 3;
    plateau = {.monitor = monitor,
               .factor = 0.5,
               .patience = Pick({0, 1, 2}),
               .mode = mode,
               .min_delta = Flip() ? 0 : 1.0,
               .cooldown = Pick({0, 1, 2}),
               .min_lr = Flip() ? 0 : 0.125};
    save_best_only = Flip();
    if (Flip(6)) {
      p.terminate_on_nan = true;
      const auto k = static_cast<size_t>(Pick({0, 1, 2, 3}));
      p.x[k] = x[k] = kNaN;
    }
  }

  int64_t Pick(std::initializer_list<int64_t> values) { return values.begin()[random() % values.size()]; }
  bool Flip(uint32_t of = 2) { return random() % of == 0; }

  keras_rules::Trainer Rules() const {
    keras_rules::Trainer rules(problem, 10);
    const keras_rules::Watch watch{.larger = mode == "max"};
    if (has_early) {
      rules.early = {.watch = watch,
                     .patience = early.patience,
                     .start_from_epoch = early.start_from_epoch,
                     .baseline = early.baseline,
                     .restore = early.restore_best_weights};
      rules.early->watch.min_delta = early.min_delta;
    }
    if (has_plateau) {
      rules.plateau = {.watch = watch,
                       .factor = plateau.factor,
                       .min_lr = plateau.min_lr,
                       .patience = plateau.patience,
                       .cooldown = plateau.cooldown};
      rules.plateau->watch.min_delta = plateau.min_delta;
    }
    if (has_checkpoint) rules.checkpoint = {.watch = watch, .save_best_only = save_best_only};
    return rules;
  }

  Sequential Model(const std::string& backend) const {
    Sequential model({Dense({.units = 1, .use_bias = false, .kernel_initializer = Constant(10), .input_shape = {1}})},
                     {.runtime = &TestRuntime(backend, 1)});
    SGDOptions sgd{.learning_rate = problem.learning_rate, .use_ema = problem.use_ema, .ema_momentum = problem.ema_momentum};
    if (problem.ema_overwrite_frequency > 0) sgd.ema_overwrite_frequency = problem.ema_overwrite_frequency;
    model.Compile({.optimizer = SGD(sgd), .loss = "mae", .weighted_metrics = {"mae"}});
    return model;
  }

  // In the order in which Keras is told of them here. `stop` comes last but one, before what saves.
  std::vector<CallbackPtr> Callbacks(const std::string& folder, const CallbackPtr& stop = nullptr) const {
    std::vector<CallbackPtr> callbacks{LambdaCallback({.on_epoch_end = [this](FitContext&, int64_t epoch, Logs& logs) {
      if (logs.Has(monitor)) logs.Set(monitor, problem.dictated(epoch));
    }})};
    if (problem.terminate_on_nan) callbacks.push_back(TerminateOnNaN({.find_origin = false}));
    if (problem.schedule) callbacks.push_back(LearningRateScheduler(problem.schedule));
    if (has_early) callbacks.push_back(EarlyStopping(early));
    if (has_plateau) callbacks.push_back(ReduceLROnPlateau(plateau));
    if (stop != nullptr) callbacks.push_back(stop);
    if (has_checkpoint) {
      callbacks.push_back(ModelCheckpoint({.path = folder + (save_best_only ? "/best" : "/{epoch}"),
                                           .monitor = monitor,
                                           .save_best_only = save_best_only,
                                           .save_weights_only = true,
                                           .mode = mode}));
    }
    if (has_log) callbacks.push_back(CSVLogger({.path = folder + "/log.csv", .append = true}));
    return callbacks;
  }

  History Fit(const weir::Model& model, const std::vector<CallbackPtr>& callbacks, int64_t last, int64_t first,
              bool resume) const {
    const auto column = [](const std::vector<double>& values) {
      Tensor tensor(DType::kFloat32, Shape{static_cast<int64_t>(values.size()), 1});
      for (size_t i = 0; i < values.size(); ++i) tensor.data<float>()[i] = static_cast<float>(values[i]);
      return tensor;
    };
    Examples data(column(x), column(y));
    if (weighted) data.sample_weights = {column(weights).Reshaped({static_cast<int64_t>(weights.size())})};
    FitOptions options{.batch_size = problem.batch_size,
                       .epochs = last,
                       .verbose = 0,
                       .callbacks = callbacks,
                       .validation_split = split,
                       .shuffle = false,
                       .class_weight = class_weight,
                       .initial_epoch = first,
                       .validation_freq = problem.validation_freq,
                       .resume = resume};
    if (split == 0 && !problem.val_x.empty()) options.validation_data = Examples(column(problem.val_x), column(problem.val_y));
    return model.Fit(data, options);
  }

  std::mt19937 random;
  keras_rules::Problem problem;
  int64_t epochs = 1;
  std::vector<double> x, y, weights, dictated;
  double split = 0;
  bool weighted = false;
  std::map<int64_t, double> class_weight;
  std::string monitor, mode;
  bool has_early = false, has_plateau = false, has_checkpoint = false, has_log = false, save_best_only = false;
  EarlyStoppingOptions early;
  ReduceLROnPlateauOptions plateau;
};

float Weight(const Model& model) { return model.layer(0).kernel().value().item<float>(); }

void ExpectClose(double have, double want, const std::string& what) {
  if (std::isnan(want)) {
    EXPECT_TRUE(std::isnan(have)) << what << " is " << have;
  } else if (std::isinf(want)) {
    EXPECT_EQ(have, want) << what;
  } else {
    EXPECT_NEAR(have, want, 1e-4 * std::max(1.0, std::fabs(want))) << what;
  }
}

std::map<std::string, float> SavedWeights(const Case& c, const std::string& folder) {
  std::map<std::string, float> weights;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().filename() == "log.csv") continue;
    const Sequential model = c.Model("highway");
    EXPECT_TRUE(model.LoadWeights(entry.path().string()).ok()) << entry.path();
    weights[entry.path().filename().string()] = Weight(model);
  }
  return weights;
}

// `from`: the first of the rules' epochs that the history is about.
void ExpectAsRules(const Case& c, const keras_rules::Trainer& rules, const Model& model, const History& history,
                   size_t from, const std::string& folder) {
  ExpectClose(Weight(model), rules.weight(), "weight");
  ExpectClose(model.optimizer().learning_rate().At(0), rules.rate(), "rate");
  ASSERT_EQ(history.epoch.size(), rules.epochs().size() - from);
  size_t validated = 0;
  for (size_t i = 0; i < history.epoch.size(); ++i) {
    const keras_rules::Epoch& epoch = rules.epochs()[from + i];
    EXPECT_EQ(history.epoch[i], epoch.number);
    if (c.monitor != "loss") ExpectClose(history["loss"][i], epoch.loss, "loss");
    if (c.has_plateau || c.problem.schedule) ExpectClose(history["lr"][i], epoch.rate, "lr");
    if (!epoch.val_loss) continue;
    ExpectClose(history["val_loss"][validated], c.problem.dictated(epoch.number), "val_loss");
    ExpectClose(history["val_mae"][validated], *epoch.val_mae, "val_mae");
    EXPECT_EQ(history.EpochsOf("val_loss")[validated], epoch.number);
    ++validated;
  }
  if (c.has_checkpoint) {
    const std::map<std::string, float> saved = SavedWeights(c, folder);
    ASSERT_EQ(saved.size(), rules.checkpoint->files.size());
    for (const auto& [name, weight] : rules.checkpoint->files) ExpectClose(saved.at(name), weight, "file " + name);
  }
}

std::string Contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool SameNumbers(const std::vector<double>& a, const std::vector<double>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(double)) == 0;
}

// Two trainings that must have come to the same end, to the bit.
void ExpectSame(const Case& c, const Model& a, const std::string& folder_a, const Model& b, const std::string& folder_b) {
  EXPECT_TRUE(SameWeights(a, b)) << Weight(a) << " " << Weight(b);
  EXPECT_EQ(a.iterations(), b.iterations());
  EXPECT_EQ(a.history().epoch, b.history().epoch);
  ASSERT_EQ(a.history().series.size(), b.history().series.size());
  for (const auto& [key, values] : a.history().series) {
    EXPECT_TRUE(SameNumbers(values, b.history()[key])) << key;
    EXPECT_EQ(a.history().EpochsOf(key), b.history().EpochsOf(key)) << key;
  }
  if (c.has_checkpoint) {
    EXPECT_EQ(SavedWeights(c, folder_a), SavedWeights(c, folder_b));
  }
  EXPECT_EQ(Contents(folder_a + "/log.csv"), Contents(folder_b + "/log.csv"));
}

class FitRules : public testing::TestWithParam<std::string> {
 protected:
  // 32 sets of callbacks, alone, in pairs and more, and as many random options as there is time for.
  static uint32_t Seeds() { return GetParam() == "highway" ? 320 : 64; }
};
INSTANTIATE_TEST_SUITE_P(Backends, FitRules, testing::ValuesIn(BackendNames()), [](const auto& info) { return info.param; });

TEST_P(FitRules, OneFit) {
  for (uint32_t seed = 0; seed < Seeds(); ++seed) {
    SCOPED_TRACE(seed);
    const Case c(seed);
    TempFolder folder;
    const Sequential model = c.Model(GetParam());
    keras_rules::Trainer rules = c.Rules();
    rules.Fit(0, c.epochs, false);
    const History history = c.Fit(model, c.Callbacks(folder.path()), c.epochs, 0, false);
    ExpectAsRules(c, rules, model, history, 0, folder.path());
    if (HasFailure()) return;
  }
}

// With the same callbacks: anew, or going on at the epoch behind the first Fit's.
TEST_P(FitRules, TwoFitsOneAfterTheOther) {
  for (uint32_t seed = 0; seed < Seeds(); ++seed) {
    SCOPED_TRACE(seed);
    Case c(seed);
    const int64_t first = c.Pick({1, 2, 3});
    const int how = static_cast<int>(c.Pick({0, 1, 2}));
    TempFolder folder;
    const Sequential model = c.Model(GetParam());
    keras_rules::Trainer rules = c.Rules();
    const std::vector<CallbackPtr> callbacks = c.Callbacks(folder.path());
    rules.Fit(0, first, false);
    c.Fit(model, callbacks, first, 0, false);
    const size_t done = rules.epochs().size();
    // The epoch to go on at, for EarlyStopping and a NaN end some before their time.
    const int64_t next = how == 0 ? 0 : rules.epochs().back().number + 1;
    rules.Fit(next, next + c.epochs, how != 0);
    const History history = c.Fit(model, callbacks, next + c.epochs, how == 1 ? next : 0, how == 2);
    ExpectAsRules(c, rules, model, history, done, folder.path());
    if (HasFailure()) return;
  }
}

enum class Stop { kInterrupt, kError };

// Ends a Fit by SIGINT, or by an exception, at the n-th call of any kind.
CallbackPtr StopAfter(int64_t calls, Stop stop) {
  const auto left = std::make_shared<int64_t>(calls);
  const auto count = [left, stop] {
    if ((*left)-- != 0) return;
    if (stop == Stop::kInterrupt) raise(SIGINT);
    if (stop == Stop::kError) throw std::runtime_error("the disk is full");
  };
  return LambdaCallback({.on_epoch_begin = [count](FitContext&, int64_t) { count(); },
                         .on_epoch_end = [count](FitContext&, int64_t, Logs&) { count(); },
                         .on_batch_begin = [count](FitContext&, int64_t) { count(); },
                         .on_batch_end = [count](FitContext&, int64_t, const Logs&) { count(); }});
}

// Stopped again and again, saved and loaded in between or not, a training comes to the same end.
void ExpectStoppedRunsEqual(Case& c, const std::string& backend) {
  TempFolder straight_folder, folder;
  const Sequential straight = c.Model(backend);
  c.Fit(straight, c.Callbacks(straight_folder.path(), StopAfter(-1, Stop::kError)), c.epochs, 0, false);
  weir::Model model = c.Model(backend);
  const bool files = c.Flip();
  std::vector<CallbackPtr> callbacks;
  for (int parts = 0;; ++parts) {
    const Stop stop = c.Flip() ? Stop::kInterrupt : Stop::kError;
    const CallbackPtr stopper = StopAfter(parts < 6 ? c.Pick({0, 1, 2, 3, 5, 8, 12, 20}) : -1, stop);
    // A new process has new callbacks; the same one may use its own again.
    if (callbacks.empty() || files) {
      callbacks = c.Callbacks(folder.path(), stopper);
    } else {
      *std::find_if(callbacks.begin() + 1, callbacks.end(), [](const CallbackPtr& callback) {
        return callback->class_name() == "LambdaCallback";
      }) = stopper;
    }
    bool stopped = false;
    try {
      stopped = c.Fit(model, callbacks, c.epochs, 0, parts > 0).interrupted;
    } catch (const std::runtime_error&) {
      stopped = true;
    }
    if (!stopped) break;
    if (!files) continue;
    TempFolder saved;
    ASSERT_TRUE(model.Save(saved / "m").ok());
    absl::StatusOr<weir::Model> loaded = LoadModel(saved / "m", {.runtime = &TestRuntime(backend, 1)});
    ASSERT_TRUE(loaded.ok()) << loaded.status();
    model = *loaded;
  }
  ExpectSame(c, straight, straight_folder.path(), model, folder.path());
}

TEST_P(FitRules, StoppedAndResumed) {
  for (uint32_t seed = 0; seed < Seeds(); ++seed) {
    SCOPED_TRACE(seed);
    Case c(seed);
    ExpectStoppedRunsEqual(c, GetParam());
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace weir
