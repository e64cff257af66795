// CSVLogger: one row an epoch, in RFC 4180's manner.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "weir/core/error.h"
#include "weir/frontend/callbacks.h"
#include "weir/frontend/checkpoint_path.h"
#include "weir/frontend/io/file.h"

namespace weir {
namespace {

class CSVLoggerCallback : public Callback {
 public:
  explicit CSVLoggerCallback(const CSVLoggerOptions& options) : options_(options) {
    if (options.path.empty()) ThrowInvalidArgument("CSVLogger: there is no path");
    if (options.separator.empty()) ThrowInvalidArgument("CSVLogger: the separator is empty");
  }
  ~CSVLoggerCallback() override { Close(); }

  std::string class_name() const override { return "CSVLogger"; }
  std::optional<std::vector<std::string>> log_keys() const override { return std::vector<std::string>{}; }

  void CheckFit(const FitContext& /*fit*/) const override {
    const absl::Status status = CheckCanWrite(options_.path);
    if (!status.ok()) throw Error(status.code(), StrCat("CSVLogger: ", std::string(status.message())));
  }

  void OnTrainBegin(FitContext& fit) override {
    Close();  // of a Fit that ended with an error
    columns_ = fit.keys();
    std::sort(columns_.begin(), columns_.end());
    file_ = open(options_.path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | (options_.append ? O_APPEND : O_TRUNC), 0666);
    if (file_ < 0) ThrowIfError(ErrnoStatus(errno, options_.path, "open for writing"));
    struct stat info {};
    header_ = !(options_.append && fstat(file_, &info) == 0 && info.st_size > 0);
    if (!header_) ReadColumns();
  }

  void OnEpochEnd(FitContext& /*fit*/, int64_t epoch, Logs& logs) override {
    if (header_) {
      // What other callbacks add (lr) is there from the first epoch on.
      for (const auto& [key, value] : logs) {
        if (std::find(columns_.begin(), columns_.end(), key) == columns_.end()) columns_.push_back(key);
      }
      std::sort(columns_.begin(), columns_.end());
      std::vector<std::string> names{"epoch"};
      for (const std::string& column : columns_) names.push_back(Quoted(column));
      Write(StrJoin(names, options_.separator) + "\r\n");
      header_ = false;
    }
    std::vector<std::string> cells{std::to_string(epoch)};
    for (const std::string& column : columns_) {
      const double* value = logs.Find(column);
      cells.push_back(value == nullptr ? "" : PythonFloat(*value));
    }
    Write(StrJoin(cells, options_.separator) + "\r\n");
  }

  void OnTrainEnd(FitContext& /*fit*/) override { Close(); }

 private:
  // The columns of the file that is appended to: its first line, without "epoch". What comes first is no log of ours,
  // and not to be written to. A last line that has no end, as of a program that was killed, gets one.
  void ReadColumns() {
    absl::StatusOr<std::string> text = ReadFile(options_.path);
    ThrowIfError(text.status());
    columns_.clear();
    std::string cell;
    bool quoted = false;
    for (size_t i = 0; i < text->size(); ++i) {
      const char c = (*text)[i];
      if (quoted && c == '"' && i + 1 < text->size() && (*text)[i + 1] == '"') {
        cell += '"';
        ++i;
      } else if (c == '"') {
        quoted = !quoted;
      } else if (!quoted && (c == '\n' || c == '\r')) {
        break;
      } else if (!quoted && text->compare(i, options_.separator.size(), options_.separator) == 0) {
        columns_.push_back(cell);
        cell.clear();
        i += options_.separator.size() - 1;
      } else {
        cell += c;
      }
    }
    columns_.push_back(cell);
    if (columns_[0] != "epoch" || quoted) {
      ThrowFailedPrecondition("CSVLogger: ", options_.path, ": can't be appended to: its first line is no header of a ",
                              "log, which begins with \"epoch\"");
    }
    columns_.erase(columns_.begin());
    if (!text->ends_with('\n')) Write("\r\n");
  }

  std::string Quoted(const std::string& text) const {
    if (text.find_first_of("\"\r\n" + options_.separator) == std::string::npos) return text;
    std::string quoted = "\"";
    for (char c : text) quoted += c == '"' ? "\"\"" : std::string(1, c);
    return quoted + "\"";
  }

  // The whole line or, where that fails, nothing of it, so that whoever goes on does so at the beginning of a line.
  void Write(const std::string& text) {
    struct stat before {};
    const bool regular = fstat(file_, &before) == 0 && S_ISREG(before.st_mode);
    size_t done = 0;
    while (done < text.size()) {
      const ssize_t count = write(file_, text.data() + done, text.size() - done);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) {
        const int error = errno;
        if (regular && ftruncate(file_, before.st_size) == 0) lseek(file_, before.st_size, SEEK_SET);
        ThrowIfError(ErrnoStatus(error, StrCat("CSVLogger: ", options_.path), "write"));
      }
      done += static_cast<size_t>(count);
    }
  }

  void Close() {
    if (file_ >= 0) close(file_);
    file_ = -1;
  }

  CSVLoggerOptions options_;
  std::vector<std::string> columns_;
  bool header_ = true;
  int file_ = -1;
};

}  // namespace

CallbackPtr CSVLogger(const CSVLoggerOptions& options) { return std::make_shared<CSVLoggerCallback>(options); }

}  // namespace weir
