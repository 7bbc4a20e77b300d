#include "crescendo/data/image_folder.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "crescendo/core/file.h"
#include "crescendo/data/picture_files.h"
#include "tests/support.h"

namespace crescendo {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

class FolderTest : public ::testing::Test {
 protected:
  void put(const std::string& file, uint8_t grey = 0) {
    make_directories((folder_ / file).parent_path());
    Image image(4, 4);
    std::fill(image.rgb.begin(), image.rgb.end(), grey);
    write_file_atomically(folder_ / file, encode_png(image));
  }
  void write(const std::string& file, const std::string& content) {
    make_directories((folder_ / file).parent_path());
    write_file_atomically(folder_ / file, content);
  }
  std::unique_ptr<Dataset> open(const std::string& inside = "") const {
    return open_dataset((folder_ / inside).string(), 4);
  }
  // What opening says besides; empty where it says nothing.
  std::string said(const std::string& inside = "") const {
    testing::internal::CaptureStderr();
    open(inside);
    return testing::internal::GetCapturedStderr();
  }
  std::string refusal() const {
    return test::usage_error_of([&] { open(); });
  }
  Strings names(const Dataset& set) const {
    Strings out;
    for (int64_t i = 0; i < set.size(); ++i)
      out.push_back(fs::path(set.name(i)).lexically_relative(folder_.path()).string());
    return out;
  }
  test::TemporaryDirectory folder_;
};

TEST_F(FolderTest, ASplitIsOneAmongSplits) {
  put("bus/0.png");
  put("train/0.png");
  EXPECT_EQ(open()->classes(), (Strings{"bus", "train"}));
  fs::rename(folder_ / "bus", folder_ / "val");
  put("train/cat/0.png");
  EXPECT_CONTAINS(said(), "training on the split " + (folder_ / "train").string() + "; beside it: val");
  fs::remove(folder_ / "train" / "0.png");
  write(".cache/x.png", "");  // hidden ones are no siblings
  write("notes.txt", "no caption of anything");
  EXPECT_EQ(open()->classes(), Strings{"cat"});
  fs::remove_all(folder_ / "val");
  EXPECT_EQ(open()->classes(), Strings{"cat"});
  put("train/loose.png");  // then it is a class, and its pictures lie at any depth
  EXPECT_EQ(open()->classes(), Strings{"train"});
  EXPECT_EQ(open()->size(), 2);
}

TEST_F(FolderTest, SplitsWithoutTrainAreRefused) {
  put("val/cat/0.png");
  put("test/cat/0.png");
  EXPECT_CONTAINS(refusal(), "holds the splits test, val and no train");
}

TEST_F(FolderTest, LeftoversAreLeftOutAtAnyDepth) {
  put("cat/0.png");
  for (const char* leftover :
       {".ipynb_checkpoints/0.png", "cat/.ipynb_checkpoints/0.png", "cat/@eaDir/0.png", "cat/._0.png",
        "__MACOSX/cat/0.png", "lost+found/0.png", "cat/deep/$RECYCLE.BIN/0.png", "System Volume Information/x.png"})
    put(leftover);
  write("cat/Thumbs.db", "x");
  put("cat/deep/1.JFIF");
  EXPECT_EQ(names(*open()), (Strings{"cat/0.png", "cat/deep/1.JFIF"}));
  EXPECT_EQ(open()->classes(), Strings{"cat"});
  EXPECT_EQ(said(), "");
}

TEST_F(FolderTest, FormatsThatAreNotReadAreCounted) {
  put("cat/0.png");
  for (const char* other : {"cat/a.tif", "cat/b.TIF", "cat/c.gif", "cat/notes.md"}) write(other, "x");
  EXPECT_CONTAINS(said(), "3 pictures of formats that are not read (1 .gif, 2 .tif), left out");
  EXPECT_EQ(open()->size(), 1);
  write("dog/0.heic", "x");
  EXPECT_CONTAINS(refusal(), "1 picture of a format that is not read (1 .heic)");
}

TEST_F(FolderTest, LinksAreFollowedOnce) {
  put("cat/0.png");
  put("dog/0.png");
  fs::create_directory_symlink(folder_ / "cat", folder_ / "cat" / "self");
  fs::create_directory_symlink(folder_.path(), folder_ / "cat" / "root");
  fs::create_directory_symlink(".", folder_ / "loop");
  EXPECT_EQ(names(*open()), (Strings{"cat/0.png", "dog/0.png"}));
  fs::create_directory_symlink("../dog", folder_ / "cat" / "more");
  fs::create_directory_symlink("../cat", folder_ / "dog" / "more");
  EXPECT_EQ(names(*open()), (Strings{"cat/0.png", "cat/more/0.png", "dog/0.png", "dog/more/0.png"}));
}

TEST_F(FolderTest, ALinkThatLeadsNowhereIsMissed) {
  put("cat/0.png");
  fs::create_symlink("gone.png", folder_ / "cat" / "1.png");
  const auto set = open();
  ASSERT_EQ(set->size(), 2);
  EXPECT_CONTAINS(test::error_of([&] { set->get(1); }), "1.png");
}

TEST_F(FolderTest, CaptionsLieBesideThePicturesAtAnyDepth) {
  put("10_thing/a.png");
  write("10_thing/a.TXT", " a red ring\n");
  put("10_thing/deep/B.PNG");
  write("10_thing/deep/B.txt", "two hearts");
  const auto set = open();
  EXPECT_EQ(set->caption(0), "a red ring");
  EXPECT_EQ(set->caption(1), "two hearts");
  EXPECT_EQ(set->classes(), Strings{"10_thing"});  // a class model has these
  put("c.png");
  write("c.txt", "loose");
  put("c.jpg");  // shares the caption
  const auto loose = open();
  EXPECT_EQ(loose->size(), 4);
  EXPECT_EQ(loose->caption(1), "loose");
  EXPECT_EQ(loose->caption(2), "a red ring");
  EXPECT_TRUE(loose->classes().empty());
}

TEST_F(FolderTest, SomeCaptionsAreAnErrorThatNamesBoth) {
  put("a/0.png");
  write("a/0.txt", "zero");
  put("a/1.png");
  const auto set = open();
  EXPECT_EQ(set->label(1), 0);  // classes are sure
  const std::string error = test::usage_error_of([&] { set->caption(0); });
  EXPECT_CONTAINS(error, "0.png has");
  EXPECT_CONTAINS(error, "1.png has not");
  put("2.png");
  EXPECT_CONTAINS(refusal(), "some pictures have a caption");
  fs::remove(folder_ / "a" / "0.txt");
  EXPECT_CONTAINS(said(), "1 picture lies beside the class folders and belongs to none");
  EXPECT_EQ(open()->size(), 2);
  EXPECT_EQ(open()->caption(0), "a");
  write("2.txt", "two");
  EXPECT_CONTAINS(refusal(), "2.png has, ");
}

TEST_F(FolderTest, IdentitiesTellWhatChanged) {
  put("a/0.png", 1);
  put("a/1.png", 1);
  const auto before = open();
  EXPECT_EQ(before->identity(0), open()->identity(0));
  EXPECT_NE(before->identity(0).name, before->identity(1).name);
  write("a/0.txt", "zero");
  write("a/1.txt", "one");
  EXPECT_EQ(before->identity(0).content, open()->identity(0).content);
  EXPECT_NE(before->identity(0).meaning, open()->identity(0).meaning);
  const PictureIdentity old = open()->identity(0);
  fs::last_write_time(folder_ / "a" / "0.png", fs::file_time_type::clock::now() + std::chrono::seconds(5));
  EXPECT_NE(open()->identity(0).content, old.content);
}

}  // namespace
}  // namespace crescendo
